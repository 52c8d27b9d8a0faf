/** URLs that a client could give as a receiver, none of which may be called, and why each is refused. */
import type { UrlRefusal } from '../../lib/core/public-address.ts'

export interface HostileUrl {
  readonly url: string
  readonly reason: UrlRefusal
  /** What a name server answers. Where it is absent, it must not even be asked. */
  readonly answers?: readonly string[]
}

const PUBLIC = '93.184.215.14'
const PUBLIC_6 = '2606:2800:21f:cb07:6820:80da:af6b:8b2c'

function rows (reason: UrlRefusal, urls: readonly string[]): HostileUrl[] {
  return urls.map((url) => ({ url, reason }))
}

/** A name with nothing wrong, which resolves to these addresses. */
function resolving (...answers: readonly string[]): HostileUrl {
  return { url: 'https://hooks.example.com/', reason: 'not-public', answers }
}

export const HOSTILE_URLS: readonly HostileUrl[] = [
  ...rows('ip-literal', [
    // IPv4 in all the ways that a URL can hold it
    'https://127.0.0.1/',
    'https://127.0.0.1./',
    'https://127.1/',
    'https://127.0.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.1/',
    'https://0X7F.0.0.0x1/',
    'https://017700000001/',
    'https://0177.0.0.1/',
    'https://0177.0x0.0.1/',
    'https://00000177.0.0.01/',
    'https://0/',
    'https://0.0.0.0/',
    'https://10.0.0.1/',
    'https://172.16.0.1/',
    'https://192.168.1.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://2852039166/',
    'https://0xa9fea9fe/',
    'https://0251.0376.0251.0376/',
    'https://168.63.129.16/',
    'https://100.100.100.200/',
    'https://255.255.255.255/',
    'https://8.8.8.8/',
    'https://%31%32%37.0.0.1/',
    'https://127%2E0%2E0%2E1/',
    // digits and dots that Unicode maps to plain ones
    'https://１２７.０.０.１/',
    'https://127。0。0。1/',
    'https://127．0．0．1/',
    'https://127｡0｡0｡1/',
    'https://①②⑦.⓪.⓪.①/',
    'https://𝟏𝟐𝟕.𝟎.𝟎.𝟏/',
    // IPv6
    'https://[::1]/',
    'https://[::]/',
    'https://[0:0:0:0:0:0:0:1]/',
    'https://[::127.0.0.1]/',
    'https://[::7f00:1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[0:0:0:0:0:ffff:a9fe:a9fe]/',
    'https://[64:ff9b::127.0.0.1]/',
    'https://[64:ff9b:1::7f00:1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001:0:53aa:64c:0:fbff:80ff:fffe]/',
    'https://[fe80::1]/',
    'https://[fc00::1]/',
    'https://[fd00:ec2::254]/',
    'https://[ff02::1]/',
    'https://[2606:4700:4700::1111]/'
  ]),
  ...rows('host', [
    'https://localhost/',
    'https://LOCALHOST/',
    'https://localhost./',
    'https://app.localhost/',
    'https://localhost.localdomain/',
    'https://redis/',
    'https://redis./',
    'https://printer.local/',
    'https://db.internal/',
    'https://ip-10-0-0-1.eu-west-1.compute.internal/',
    'https://wiki.corp/',
    'https://nas.home.arpa/',
    'https://1.0.0.127.in-addr.arpa/',
    'https://example.onion/',
    'https://metadata.google.internal/computeMetadata/v1/',
    'https://METADATA.google.internal./',
    'https://metadata.goog/',
    'https://metadata/',
    'https://instance-data/',
    'https://instance-data.ec2.internal/',
    'https://metadata.azure.com/',
    'https://metadata.azure.internal/',
    'https://metadata.tencentyun.com/',
    'https://metadata.packet.net/',
    'https://metadata.platformequinix.com/',
    'https://kubernetes.default.svc/',
    'https://kubernetes.default.svc.cluster.local/',
    // letters that Unicode maps to plain ones
    'https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/',
    'https://ｌｏｃａｌｈｏｓｔ/',
    'https://ⅼocalhost/',
    'https://𝓁𝓸𝒸𝒶𝓁𝒽𝓸𝓈𝓉/',
    'https://%6cocalhost/',
    'https://metadata。google。internal/',
    'https://db%E3%80%82internal/',
    // labels that no name has
    'https://localhost../',
    'https://a..example.com/',
    'https://.example.com/',
    'https://example.com.%2e/',
    'https://-a.example.com/',
    'https://*.example.com/',
    `https://${'a'.repeat(64)}.example.com/`
  ]),
  ...rows('user-info', [
    'https://user@example.com/',
    'https://user:password@example.com/',
    'https://@example.com/',
    'https://:@example.com/',
    'https://example.com@127.0.0.1/',
    'https://example.com:443@127.0.0.1/',
    'https://example.com%20@127.0.0.1/',
    'https://127.0.0.1@example.com/'
  ]),
  ...rows('characters', [
    'https://example.com\\@127.0.0.1/',
    'https:\\\\127.0.0.1/',
    'https://127.0.0.1\\.example.com/',
    'https://local\thost/',
    'https://local\nhost/',
    'https://exa\rmple.com/',
    ' https://example.com/',
    'https://example.com/ ',
    'https://example.com/a b',
    'https://example.com/\u0000',
    'https://example.com/\r\nHost: 127.0.0.1',
    'https://local\u00adhost/',
    'https://local\u200bhost/',
    'https://local\u2060host/',
    '\ufeffhttps://example.com/',
    'https://example.com/\u202e'
  ]),
  ...rows('malformed', [
    '',
    'example.com',
    '//example.com/',
    '/etc/passwd',
    'https:example.com',
    'https:/example.com/',
    'https:///example.com/',
    'https://',
    'https://?x',
    'https://[::1/',
    'https://[fe80::1%25eth0]/',
    'https://127.0.0.1%2f.example.com/',
    'https://127.0.0.1%00.example.com/',
    'https://1.2.3.4.5/',
    'https://256.256.256.256/',
    'https://example.0x7f/',
    'https://example.com:port/',
    'https://example.com:99999/',
    'javascript:alert(1)',
    'data:text/plain,x',
    'file:///etc/passwd'
  ]),
  ...rows('not-https', [
    'http://example.com/',
    'HTTP://example.com/',
    'ftp://example.com/',
    'gopher://127.0.0.1:6379/_FLUSHALL',
    'dict://127.0.0.1:6379/info',
    'ldap://example.com/',
    'file://localhost/etc/passwd',
    'ws://example.com/',
    'wss://example.com/',
    'unix://example.com/var/run/docker.sock',
    'view-source://example.com/'
  ]),
  ...rows('port', [
    'https://example.com:22/',
    'https://example.com:25/',
    'https://example.com:80/',
    'https://example.com:6379/',
    'https://example.com:9200/',
    'https://example.com:0/',
    'https://example.com:65535/',
    'https://127.0.0.1:2375/'
  ]),
  { url: `https://example.com/${'a'.repeat(2_048)}`, reason: 'too-long' },
  { url: `https://${'a.'.repeat(2_000)}com/`, reason: 'too-long' },
  // Names that resolve to what must not be reached: each range of IANA's special-purpose registries.
  ...[
    '0.0.0.0', '0.1.2.3', '10.1.2.3', '100.64.0.1', '100.127.255.254', '127.0.0.1', '127.255.255.254', '169.254.0.1',
    '169.254.169.254', '172.16.0.1', '172.31.255.254', '192.0.0.1', '192.0.0.192', '192.0.2.1', '192.31.196.1', '192.52.193.1',
    '192.88.99.1', '192.168.0.1', '192.175.48.1', '198.18.0.1', '198.19.255.254', '198.51.100.1', '203.0.113.1', '224.0.0.1',
    '239.255.255.250', '240.0.0.1', '255.255.255.255', '168.63.129.16', '100.100.100.200',
    '::', '::1', '::7f00:1', '::127.0.0.1', '::808:808', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:a9fe:a9fe', '::ffff:0:7f00:1',
    '64:ff9b::7f00:1', '64:ff9b::a00:1', '64:ff9b:1::a9fe:a9fe', '100::1', '100:0:0:1::1', '2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '2001:2::1', '2001:3::1', '2001:4:112::1', '2001:10::1', '2001:20::1', '2001:30::1', '2001:db8::1', '2002:7f00:1::1',
    '2002:c0a8:101::1', '2620:4f:8000::1', '3fff::1', '4000::1', '5f00::1', '8000::1', 'fc00::1', 'fd12:3456:789a::1', 'fd00:ec2::254',
    'fe80::1', 'fe80::1%lo', 'fec0::1', 'ff02::1', '2606:2800::5efe:7f00:1', '2606:2800::200:5efe:a00:1'
  ].map((address) => resolving(address)),
  // Answers of which only some are bad, and answers that are no addresses.
  resolving(PUBLIC, '127.0.0.1'),
  resolving('10.0.0.1', PUBLIC),
  resolving(PUBLIC_6, '::1'),
  resolving(PUBLIC, '::ffff:192.168.0.1'),
  resolving(PUBLIC, PUBLIC_6, '169.254.169.254'),
  resolving(...Array.from({ length: 65 }, () => PUBLIC)),
  resolving('0x7f.1'),
  resolving('2130706433'),
  resolving('localhost'),
  resolving(''),
  { url: 'https://127.0.0.1.nip.io/', reason: 'not-public', answers: ['127.0.0.1'] },
  { url: 'https://localtest.me/', reason: 'not-public', answers: ['127.0.0.1', '::1'] },
  { url: 'https://xn--lclhost-zza7o.example/', reason: 'not-public', answers: ['127.0.0.1'] },
  { url: 'https://nowhere.example.com/', reason: 'unresolvable', answers: [] }
]
