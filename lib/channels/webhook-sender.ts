/** Sends webhooks with the sender of everything that leaves the process, under the policy for what clients may choose. */
import type { Clock } from '../core/context.ts'
import { DeliveryError, HttpSender } from '../core/http-sender.ts'
import type { ResolvedOutboundPolicy } from '../core/outbound-policy.ts'
import { assertPublicUrl, refusalOf, URL_REFUSALS } from '../core/public-address.ts'
import type { WebhookAnswer, WebhookRefusal, WebhookTransport } from './webhook-transport.ts'

export function httpTransport (clock: Clock, policy: ResolvedOutboundPolicy): WebhookTransport {
  const sender = new HttpSender({ clock, policy })
  return {
    refuses: (url) => refusalOfUrl(url, policy),
    send: async (request) => {
      try {
        const { status, headers } = await sender.sendOnce(request)
        return answer({ status, retryAfter: headers['retry-after'], delivery: headers['webhook-delivery'] })
      } catch (error) {
        if (!(error instanceof DeliveryError)) return answer({ code: 'ENETWORK' })
        const { code, reason } = error
        // A name that cannot be resolved now may be resolved later: the origin counts as broken meanwhile.
        return reason === undefined || reason === 'unresolvable' ? answer({ code }) : answer({ code: reason, refused: true })
      }
    },
    close: () => { sender.close() }
  }
}

/** Why a URL must not be called. No name server is asked: the addresses are checked at every attempt. */
export function refusalOfUrl (url: string, policy: ResolvedOutboundPolicy): WebhookRefusal | undefined {
  try {
    assertPublicUrl(url, policy)
    return undefined
  } catch (error) {
    const reason = refusalOf(error)
    if (reason === undefined) throw error
    return { reason, sentence: URL_REFUSALS[reason] }
  }
}

function answer (given: Partial<WebhookAnswer>): WebhookAnswer {
  return { status: undefined, code: undefined, refused: false, retryAfter: undefined, delivery: undefined, ...given }
}
