/** What a delivery is submitted with. */
export interface DeliveryInput {
  /** The job whose end is delivered. */
  readonly job: string
  readonly name: string
  readonly queue: string
  /** How often the job was redriven before that end. */
  readonly round: number
  readonly url: string
  readonly include?: 'result' | undefined
  /** Where the job routes are. */
  readonly linkBase?: string | undefined
}
