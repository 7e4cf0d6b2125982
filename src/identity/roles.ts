/** What somebody may do, least first; each may also do what those before it may. docs/operating/users-and-roles.md tells of them. */
export const roles = ['user', 'auditor', 'operator', 'admin', 'owner'] as const
export type Role = (typeof roles)[number]

/** Whether `role` may do what needs `least`. */
export const mayActAs = (role: Role, least: Role): boolean => roles.indexOf(role) >= roles.indexOf(least)

/** Who acts, for the record and for what it may: the owner's key, an API key, or the pool's own program. */
export interface Actor {
  /** `owner.key`, `key:<id>`, `self`. */
  readonly actor: string
  readonly role: Role
  /** Whose API key it is; null for the others. */
  readonly userId: string | null
}

/** The pool's own program, such as `lichen up` that makes its first key. */
export const poolItself: Actor = { actor: 'self', role: 'owner', userId: null }
