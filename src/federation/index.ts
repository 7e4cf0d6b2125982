/**
 * Federation: how sovereign pools (the seeds' "atoms" of a "molecule") speak with each other.
 *
 * Owns    tables peers, nonces, peer_acceptances, peer_records, federation_toggles, peer_admin_keys, admin_requests, token_peers and revoked_tokens; the signed envelopes of versions 1 and 2, their receiver, the one way out to other pools, the rule
 *         for URLs that a peer supplies; tables facts, fact_*, witnessed, vouchers and federation_notices: signed facts, what was seen of others' logs, and what humans should
 *         look at because of them.
 * Imports crypto, log, observability, protocol, runtime, storage. What decides is pure: no clock, no dice, no table, no socket.
 * Always  a message counts for nothing before its signature has verified under a key that was accepted; a peer that spoke version 2 is
 *         not heard in version 1; reading bytes from outside never throws; nothing is sent while the kill switch is on.
 */
export { type SignedAcceptance, signAcceptance } from './acceptance.ts'
export {
  type AdminAction,
  type AdminSignature,
  adminActions,
  adminDecisionBytes,
  adminRequestBytes,
  adminSignatureSchema,
  overrides,
  requestMoves,
} from './admin-request.ts'
export { AdminRequests } from './admin-requests.ts'
export { federationOps } from './conformance.ts'
export { successShare } from './decide-trust.ts'
export { askSeen } from './facts/ask-seen.ts'
export { type Compared, compareSeen, seenSchema } from './facts/compare-seen.ts'
export { type ExchangeOptions, FactExchange, type Sayings } from './facts/exchange.ts'
export { factKinds } from './facts/fact.ts'
export { type Capability, Federation } from './federation.ts'
export type { Aside } from './heartbeats.ts'
export type { KillSwitch, SwitchFile } from './kill-switch.ts'
export {
  ForgedStream,
  type LentFrame,
  readLentAnswer,
  v1AnswerSchema,
  v1JobSchema,
  v2JobSchema,
  writeFrame,
} from './lent-job.ts'
export { federationLimits } from './limits.ts'
export { type Callee, type NotCalled, type NotCalledCode, notCalled, Outbound } from './outbound.ts'
export { type PeerAdminKey, PeerAdminKeys } from './peer-keys.ts'
export type { Added, PeerDetails, PeerOffice, PeerView } from './peer-office.ts'
export { type Peer, Peers } from './peers.ts'
export type { RawHead, RawRequest } from './read-envelope.ts'
export { jobPath, receiptPath } from './read-envelope.ts'
export type { Heard } from './receiver.ts'
export type { RequestRow } from './request-rows.ts'
export { type Answer, answerNo, answerYes, type StreamedAnswer } from './signed-route.ts'
export {
  type Comparison,
  compareStatements,
  type SignedStatement,
  signStatement,
  statementAskSchema,
  statementFromWire,
  statementHolds,
  statementPath,
  statementToWire,
} from './statement.ts'
export { successionsPath } from './successions.ts'
export { type ToggleRow, Toggles, toggleNames } from './toggles.ts'
export { looksLikeToken } from './token.ts'
export { revokedTokens, type TokenPeer, Tokens } from './tokens.ts'
export { acceptAgain } from './trust-acts.ts'
export { handshakePath } from './verify-envelope.ts'
