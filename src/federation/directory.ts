import type { Peer } from './peers.ts'

/** What a pool tells everybody about others: only those it trusts with jobs and has seen lately. */
const rowOf = ({ id, name, url, moleculeId, capabilities }: Peer) => ({
  atom_id: id,
  name,
  url,
  molecule_id: moleculeId,
  capabilities,
})

/** The three public lists; they say the same in the words of who asks for each. */
export function directoryPage(page: 'molecule' | 'discover' | 'pools', self: object, peers: readonly Peer[]): object {
  const rows = peers.map(rowOf)
  if (page === 'molecule') return { molecule_id: '', self, atoms: rows }
  return page === 'discover' ? { self, peers: rows } : { pools: [self, ...rows] }
}
