/**
 * Client: what a program that pays needs: orders signed with its own key, and receipts checked without asking anybody.
 *
 * Owns    createClient, and verifyReceipt for any bytes; the rules of orders and receipts are protocol's.
 * Imports protocol, crypto, runtime.
 * Always  nothing is sent to anyone but the pool it was made for, and the payer key never leaves the process. It runs in a browser
 *         too: tools/browser-client has what it needs of Node.
 */
export type { ReceiptVerdict } from '#protocol'
export { type ClientOptions, createClient } from './create-client.ts'
export { type ReceiptExpectation, verifyReceipt } from './verify-receipt.ts'
