/** `npm run validate` trusts it as well. */
export * from '../../../example-server/validate/support/openmetrics-parser.ts'
