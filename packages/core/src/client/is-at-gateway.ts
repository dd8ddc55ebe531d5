/** True for an address at the gateway, whose base URL may end in `/v1`: what is sent there is carried. */
export function isAtGateway(baseUrl: string, url: string | undefined): boolean {
  const [gateway, address] = [placeOf(baseUrl), placeOf(url ?? '')];
  if (gateway === undefined || address === undefined || gateway.origin !== address.origin) return false;
  const base = gateway.path.replace(/\/+(?:v1\/*)?$/, '');
  return address.path === base || address.path.startsWith(`${base}/`);
}

const ADDRESS = /^(https?):\/\/(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]+)(?::(\d*))?([^?#]*)/i;
const DEFAULT_PORT: Readonly<Record<string, string>> = { http: '80', https: '443' };
/** Names of this very machine; on one port it is one listener, whatever name a client calls it by. */
const LOOPBACK = /^(?:localhost|127\.0\.0\.1|\[::1\])$/;

/** As HTTP clients compare them: scheme and host in lower case, the default port left out. */
function placeOf(url: string): { readonly origin: string; readonly path: string } | undefined {
  const [, scheme = '', host = '', port = '', path = ''] = ADDRESS.exec(url) ?? [];
  if (host === '') return undefined;
  const [protocol, name] = [scheme.toLowerCase(), host.toLowerCase()];
  return {
    origin: `${protocol}://${LOOPBACK.test(name) ? 'localhost' : name}:${port === '' ? (DEFAULT_PORT[protocol] ?? '') : port}`,
    path,
  };
}
