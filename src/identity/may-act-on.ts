import { PoolError, type Refusal } from '#protocol'
import { type Actor, mayActAs, type Role } from './roles.ts'

/** Why somebody may not act on a user, or on a key, that counts as `role`; undefined: go ahead. Touches nothing. */
function whyNotActOn(by: Actor, role: Role): Refusal | undefined {
  if (mayActAs(by.role, role)) return undefined
  return {
    code: 'role_required',
    message: `This concerns the role ${role} and needs it; yours is ${by.role}.`,
    fix: `Ask somebody with the role ${role}.`,
  }
}

/** @throws PoolError role_required. */
export function assertMayActOn(by: Actor, ...concerned: readonly Role[]): void {
  for (const role of concerned) {
    const refusal = whyNotActOn(by, role)
    if (refusal) throw PoolError.from(refusal)
  }
}

/** Why a key of a user may not have a role; undefined: it may. */
export function whyNotKeyRole(user: { readonly name: string; readonly role: Role }, role: Role): Refusal | undefined {
  if (mayActAs(user.role, role)) return undefined
  return {
    code: 'conflict',
    message: `The user ${user.name} has the role ${user.role}; its key cannot have more.`,
    fix: `Give the key at most ${user.role}, or the user more: \`lichen users role ${user.name} ${role}\`.`,
  }
}
