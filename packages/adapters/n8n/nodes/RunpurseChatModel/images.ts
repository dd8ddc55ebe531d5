import { isObject, textOf } from '../shared/transport.ts';

/** LangChain's model as far as it is touched here. */
interface Model {
  _generate(messages: readonly LangchainMessage[], ...rest: unknown[]): unknown;
  _streamResponseChunks(messages: readonly LangchainMessage[], ...rest: unknown[]): unknown;
  bindTools(...given: unknown[]): unknown;
}

interface LangchainMessage {
  readonly content: unknown;
}

/**
 * n8n's agent hands images on as `image_url` blocks, which the SDK's conversion drops without a word. Here they become
 * blocks that it keeps, on the model and on every model that tools are bound to.
 */
export function keepingImages(response: unknown): unknown {
  const model = response as Model;
  const { _generate: generate, _streamResponseChunks: stream, bindTools: bind } = model;
  model._generate = (messages, ...rest) => generate.call(model, messages.map(withImages), ...rest);
  model._streamResponseChunks = (messages, ...rest) => stream.call(model, messages.map(withImages), ...rest);
  model.bindTools = (...given) => keepingImages(bind.apply(model, given));
  return model;
}

function withImages(message: LangchainMessage): LangchainMessage {
  if (!Array.isArray(message.content) || !message.content.some(isImageUrl)) return message;
  const content = (message.content as unknown[]).map((block) =>
    isImageUrl(block) ? { type: 'image', url: urlOf(block['image_url']) } : block,
  );
  return Object.assign(Object.create(Object.getPrototypeOf(message) as object) as LangchainMessage, message, { content });
}

function isImageUrl(block: unknown): block is Readonly<Record<string, unknown>> {
  return isObject(block) && block['type'] === 'image_url' && urlOf(block['image_url']) !== '';
}

function urlOf(image: unknown): string {
  return isObject(image) ? textOf(image['url']) : textOf(image);
}
