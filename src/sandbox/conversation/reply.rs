//! What the simulated assistant answers.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::scenario::Scenario;
use super::super::voice::{Clip, Line, clip};
use super::Transport;
use super::input::Voice;
use super::items::{Item, Items};
use super::tools;
use super::usage::written;
use super::wish::Wish;

/// What a response consists of.
pub(super) enum Content {
    Speech(Speech),
    Text(String),
    Call { name: String, arguments: String },
}

/// Something said aloud.
pub(super) struct Speech {
    pub(super) text: String,
    pub(super) duration: Duration,
    pub(super) sound: Sound,
}

pub(super) enum Sound {
    Clip(Clip),
    /// 24 kHz.
    Samples(Vec<i16>),
}

/// What is known when a response begins.
pub(super) struct Situation<'a> {
    pub(super) items: &'a Items,
    pub(super) scenario: Scenario,
    pub(super) transport: Transport,
    /// The user's last words, when they are kept.
    pub(super) own_words: &'a [Voice],
    /// How many responses there were before.
    pub(super) before: u64,
}

impl Situation<'_> {
    pub(super) fn content(&self, wish: &Wish) -> Content {
        if let Some(echo) = self.echo(wish) {
            return if wish.in_text { Content::Text(echo.text) } else { Content::Speech(echo.limited(wish.max_tokens)) };
        }
        let line = match (self.scripted(), self.called(wish)) {
            (Some(line), _) => line,
            (None, None) => self.line(wish),
            (None, Some(tool)) => {
                let name = tool["name"].as_str().unwrap_or_default().to_owned();
                return Content::Call { name, arguments: tools::arguments(tool).to_string() };
            }
        };
        let line = clip(&wish.voice, line);
        if wish.in_text {
            return Content::Text(limited(line.text(), wish.max_tokens));
        }
        Content::Speech(self.spoken(&line).limited(wish.max_tokens))
    }

    /// What the scenario says in every response, whatever was asked and whichever functions there are.
    fn scripted(&self) -> Option<Line> {
        match self.scenario {
            Scenario::HangsUp => Some(Line::Goodbye),
            Scenario::DropsMidCall => Some(Line::Long),
            _ => None,
        }
    }

    /// The function to call: what `tool_choice` says; with `auto`, one for the user's first turn and for every turn whose text has a
    /// word of a function's name. A result of a function is answered in words.
    fn called<'a>(&self, wish: &'a Wish) -> Option<&'a Value> {
        let last = self.items.last();
        if wish.tool_choice == "none" || last.is_some_and(|item| item.is("function_call_output")) || wish.input.is_some() {
            return None;
        }
        if let Some(name) = wish.tool_choice["name"].as_str() {
            return wish.tools.iter().find(|tool| tool["name"] == name && tool["type"] == "function");
        }
        let text = last.map(Item::text).unwrap_or_default();
        let tool = tools::chosen(&wish.tools, &text)?;
        let never = !self.items.iter().any(|item| item.is("function_call"));
        let turn = last.is_some_and(|item| item.is_from("user"));
        (wish.tool_choice == "required" || turn && (never || tools::is_named(tool, &text))).then_some(tool)
    }

    fn line(&self, wish: &Wish) -> Line {
        let Some(last) = self.items.last().filter(|_| wish.input.is_none()) else { return Line::Greeting };
        if last.is("function_call_output") {
            return Line::ToolResult;
        }
        if !last.is_from("user") && self.before == 0 {
            return Line::Greeting;
        }
        let again = self.items.iter().any(|item| item.is_from("assistant"));
        match (last.has_audio(), again) {
            (true, false) => Line::HeardYou,
            (true, true) => Line::HeardAgain,
            (false, false) => Line::Typed,
            (false, true) => Line::TypedAgain,
        }
    }

    /// The user's own words, in the scenario that plays them back.
    fn echo(&self, wish: &Wish) -> Option<Speech> {
        let last = self.items.last().filter(|item| wish.input.is_none() && item.is_from("user") && item.has_audio())?;
        let text = last.text();
        let text = if text.is_empty() { "[the user's own words]".to_owned() } else { text };
        let packets: Vec<Bytes> = self.own_words.iter().filter_map(Voice::packet).collect();
        let samples: Vec<i16> = self.own_words.iter().flat_map(Voice::samples).copied().collect();
        match (packets.is_empty(), samples.is_empty()) {
            (false, _) => Some(self.spoken(&Clip::from_packets(packets, &text))),
            (true, false) => {
                let millis = u64::try_from(samples.len() / 24).unwrap_or(u64::MAX);
                Some(Speech { text, duration: Duration::from_millis(millis), sound: Sound::Samples(samples) })
            }
            (true, true) => None,
        }
    }

    fn spoken(&self, line: &Clip) -> Speech {
        let sound = match self.transport {
            Transport::WebRtc => Sound::Clip(line.clone()),
            Transport::WebSocket => Sound::Samples(line.pcm()),
        };
        Speech { text: line.text().to_owned(), duration: line.duration(), sound }
    }
}

impl Speech {
    /// Cut to a number of tokens of 50 ms.
    fn limited(self, most: Option<u64>) -> Self {
        let most = most.map_or(Duration::MAX, |most| Duration::from_millis(most.saturating_mul(50)));
        if self.duration <= most {
            return self;
        }
        let share = most.as_secs_f64() / self.duration.as_secs_f64();
        let count = |length: usize| part(length, share);
        let text: String = self.text.chars().take(count(self.text.chars().count())).collect();
        let sound = match self.sound {
            Sound::Clip(whole) => Sound::Clip(Clip::from_packets(
                whole.packets().iter().take(count(whole.packets().len())).cloned().collect(),
                &text,
            )),
            Sound::Samples(mut samples) => {
                samples.truncate(count(samples.len()));
                Sound::Samples(samples)
            }
        };
        Self { text, duration: most, sound }
    }
}

/// `share` (0 to 1) of `length`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a small number"
)]
pub(super) fn part(length: usize, share: f64) -> usize {
    ((length as f64 * share) as usize).min(length)
}

fn limited(text: &str, most: Option<u64>) -> String {
    match most.and_then(|most| usize::try_from(most.saturating_mul(4)).ok()) {
        Some(most) if written(text) > 0 => text.chars().take(most).collect(),
        _ => text.to_owned(),
    }
}

impl Voice {
    fn packet(&self) -> Option<Bytes> {
        match self {
            Self::Packet(packet) => Some(packet.clone()),
            Self::Samples(_) => None,
        }
    }

    fn samples(&self) -> &[i16] {
        match self {
            Self::Packet(_) => &[],
            Self::Samples(samples) => samples,
        }
    }
}
