/**
 * Client: what a program that pays needs: orders signed with its own key, and receipts checked without asking anybody.
 *
 * Owns    createClient; the rules of orders and receipts are protocol's.
 * Imports protocol, crypto, runtime.
 * Always  nothing is sent to anyone but the pool it was made for, and the payer key never leaves the process.
 */
export { type ReceiptExpectation, type ReceiptVerdict, verifyReceipt } from '#protocol'
export { type ClientOptions, createClient } from './create-client.ts'
