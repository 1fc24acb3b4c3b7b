/** A short message that something was done. Failures are shown where they happened instead. */
export interface Message {
  id: number;
  text: string;
}

const listeners = new Set<() => void>();
let messages: readonly Message[] = [];
let lastId = 0;

/** Shows and announces `text` for a few seconds. Never pass a secret. */
export function notify(text: string): void {
  lastId += 1;
  update([...messages, { id: lastId, text }]);
}

export function dismiss(id: number): void {
  update(messages.filter((message) => message.id !== id));
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function currentMessages(): readonly Message[] {
  return messages;
}

function update(to: readonly Message[]): void {
  messages = to;
  for (const listener of listeners) listener();
}
