/** True for an address at the gateway, whose base URL may end in `/v1`: what is sent there is carried. */
export function isAtGateway(baseUrl: string, url: string | undefined): boolean {
  const base = baseUrl.replace(/\/+(?:v1\/*)?$/, '');
  return url !== undefined && (url === base || url.startsWith(`${base}/`));
}
