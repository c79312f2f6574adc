// Folds the realtime API's events into lines of conversation. No I/O.

/**
 * One line: what one side said or typed, in one piece. Lines keep their id while their text grows.
 * @typedef {{ id: string, role: "user" | "assistant", text: string, final: boolean, spoken: boolean,
 *            failed?: boolean }} Line `failed`: there is no text, because the provider could not or does not transcribe
 */

export class Transcript {
  /** @type {Map<string, Line>} */
  #lines = new Map();
  /** Some sessions transcribe nothing that the user says; nothing is waited for then. */
  #transcribes = true;

  /**
   * @param {{ type: string, [field: string]: any }} event from the server
   * @returns {Line[]} the lines that changed
   */
  apply(event) {
    switch (event.type) {
      case 'session.created':
      case 'session.updated':
        if (event.session?.type === 'realtime') this.#transcribes = Boolean(event.session.audio?.input?.transcription);
        return [];
      // The user's line takes its place before its words are known: answers often come sooner than transcriptions.
      case 'input_audio_buffer.speech_started':
        return this.#change(event.item_id, 'user', { spoken: true });
      case 'conversation.item.input_audio_transcription.delta':
        return this.#grow(event.item_id, 'user', event.delta, true);
      case 'conversation.item.input_audio_transcription.completed':
        return this.#change(event.item_id, 'user', { text: event.transcript ?? '', final: true, spoken: true });
      case 'conversation.item.input_audio_transcription.failed':
        return this.#change(event.item_id, 'user', { final: true, spoken: true, failed: true });
      case 'conversation.item.added':
      case 'conversation.item.created':
        return this.#add(event.item);
      case 'response.output_audio_transcript.delta':
        return this.#grow(event.item_id, 'assistant', event.delta, true);
      case 'response.output_audio_transcript.done':
        return this.#change(event.item_id, 'assistant', { text: event.transcript ?? '', final: true, spoken: true });
      case 'response.output_text.delta':
        return this.#grow(event.item_id, 'assistant', event.delta, false);
      case 'response.output_text.done':
        return this.#change(event.item_id, 'assistant', { text: event.text ?? '', final: true });
      case 'response.done':
        return this.finish('assistant');
      default:
        return [];
    }
  }

  /** Makes lines that nothing will add to any more final: after an interruption, or when the call has ended. */
  finish(role) {
    const open = [...this.#lines.values()].filter((line) => !line.final && (role === undefined || line.role === role));
    return open.flatMap((line) => this.#change(line.id, line.role, { final: true }));
  }

  #add(item) {
    if (item?.type !== 'message' || item.role !== 'user') return [];
    const parts = item.content ?? [];
    if (parts.some((part) => part.type === 'input_audio')) return this.#change(item.id, 'user', { spoken: true, ...(!this.#transcribes && { final: true, failed: true }) });
    const text = parts.filter((part) => part.type === 'input_text').map((part) => part.text).join(' ');
    return text === '' ? [] : this.#change(item.id, 'user', { text, final: true });
  }

  #grow(id, role, delta, spoken) {
    return this.#change(id, role, { text: (this.#lines.get(id)?.text ?? '') + (delta ?? ''), spoken });
  }

  #change(id, role, change) {
    if (typeof id !== 'string') return [];
    const line = { id, role, text: '', final: false, spoken: false, ...this.#lines.get(id), ...change };
    this.#lines.set(id, line);
    return [line];
  }
}
