// Adds up the tokens of a session. No I/O.

/** Nothing used yet. All counts are tokens, except `responses` and `transcriptionSeconds`. */
export const NOTHING_USED = Object.freeze({
  responses: 0,
  inputText: 0,
  inputAudio: 0,
  inputCached: 0,
  outputText: 0,
  outputAudio: 0,
  transcription: 0,
  transcriptionSeconds: 0,
  total: 0,
});

/**
 * @param {typeof NOTHING_USED} used
 * @param {{ type: string, [field: string]: any }} event from the server
 * @returns {typeof NOTHING_USED} the same object when the event carries no usage
 */
export function addUsage(used, event) {
  if (event.type === 'response.done' && event.response?.usage) {
    const { input_token_details: input = {}, output_token_details: output = {}, total_tokens: total } = event.response.usage;
    return {
      ...used,
      responses: used.responses + 1,
      inputText: used.inputText + count(input?.text_tokens),
      inputAudio: used.inputAudio + count(input?.audio_tokens),
      inputCached: used.inputCached + count(input?.cached_tokens),
      outputText: used.outputText + count(output?.text_tokens),
      outputAudio: used.outputAudio + count(output?.audio_tokens),
      total: used.total + count(total),
    };
  }
  if (event.type === 'conversation.item.input_audio_transcription.completed' && event.usage) {
    const { type, total_tokens: total, seconds } = event.usage;
    return type === 'duration'
      ? { ...used, transcriptionSeconds: used.transcriptionSeconds + count(seconds) }
      : { ...used, transcription: used.transcription + count(total), total: used.total + count(total) };
  }
  return used;
}

function count(value) {
  return Number.isFinite(value) && value > 0 ? value : 0;
}
