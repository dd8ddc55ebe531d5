import axios, { AxiosHeaders, type AxiosInstance } from 'axios';
import type { Transport } from '../client/transport.ts';

const RESPONSE_BYTES_MAX = 32 * 1024 * 1024;

/**
 * The default transport, on axios. Takes an instance when the host has proxies or certificates of its own to set; no
 * status is an error to it and no redirect is followed, since the key would travel along.
 */
export function axiosTransport(instance: AxiosInstance = axios.create()): Transport {
  return {
    async send({ method, url, headers, body, timeoutMs }) {
      const response = await instance.request<string>({
        method,
        url,
        headers: { ...headers },
        data: body,
        timeout: timeoutMs,
        // `timeout` is over once bytes arrive; this one is not.
        signal: AbortSignal.timeout(timeoutMs),
        responseType: 'text',
        transformRequest: [(data: unknown) => data],
        transformResponse: [(data: unknown) => data],
        validateStatus: () => true,
        maxRedirects: 0,
        maxContentLength: RESPONSE_BYTES_MAX,
        maxBodyLength: Infinity,
      });
      return {
        status: response.status,
        headers: Object.fromEntries(
          Object.entries(AxiosHeaders.from(response.headers as AxiosHeaders).toJSON()).map(([name, value]) => [
            name.toLowerCase(),
            String(value),
          ]),
        ),
        body: typeof response.data === 'string' ? response.data : '',
      };
    },
  };
}
