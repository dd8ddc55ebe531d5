export { createApi, type ApiOptions } from './app.ts';
export { refusalResponse } from './refusal-response.ts';
