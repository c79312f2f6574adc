//! The conversation's items, oldest first.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::shape::Fault;
use super::outbox::Outbox;
use super::usage::{Tokens, spoken_by_assistant, spoken_by_user, written};

/// Beyond this the oldest items are forgotten, like the real API's truncation.
const MOST: usize = 512;
/// In bytes of all items together.
const MOST_BYTES: usize = 2 * 1024 * 1024;

pub(super) struct Item {
    id: String,
    /// As servers show it, without audio.
    shown: Value,
    audio: Duration,
    bytes: usize,
}

impl Item {
    /// `fields` have the form of an item; `id`, `object` and `status` are set here.
    pub(super) fn new(id: String, status: &str, mut fields: Map<String, Value>, audio: Duration) -> Self {
        for (name, value) in [("id", json!(id)), ("object", json!("realtime.item")), ("status", json!(status))] {
            fields.insert(name.into(), value);
        }
        let shown = Value::Object(fields);
        let bytes = shown.to_string().len();
        Self { id, shown, audio, bytes }
    }

    pub(super) fn shown(&self) -> &Value {
        &self.shown
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.shown["type"] == kind
    }

    pub(super) fn is_from(&self, role: &str) -> bool {
        self.shown["role"] == role
    }

    pub(super) fn has_audio(&self) -> bool {
        !self.audio.is_zero()
    }

    /// Everything that is written in it.
    pub(super) fn text(&self) -> String {
        let parts = self.shown["content"].as_array().into_iter().flatten();
        let texts = parts.filter_map(|part| part["text"].as_str().or_else(|| part["transcript"].as_str()));
        let others = ["arguments", "output", "name"].into_iter().filter_map(|name| self.shown[name].as_str());
        texts.chain(others).collect::<Vec<_>>().join(" ")
    }

    fn tokens(&self) -> Tokens {
        let audio = if self.is_from("assistant") { spoken_by_assistant(self.audio) } else { spoken_by_user(self.audio) };
        Tokens { text: written(&self.text()), audio }
    }
}

#[derive(Default)]
pub(super) struct Items(Vec<Item>);

impl Items {
    pub(super) fn last(&self) -> Option<&Item> {
        self.0.last()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.0.iter()
    }

    pub(super) fn tokens(&self) -> Tokens {
        self.0.iter().map(Item::tokens).sum()
    }

    pub(super) fn last_id(&self) -> Option<String> {
        self.last().map(|item| item.id.clone())
    }

    /// Adds an item and says so: `conversation.item.added`, and `.done` unless it is in progress. `after`: the id of the item before
    /// it, or `root`; the end when absent.
    pub(super) fn add(&mut self, item: Item, after: Option<&str>, outbox: &mut Outbox) -> Result<(), Fault> {
        if self.0.iter().any(|other| other.id == item.id) {
            let message = format!("Error adding item: an item with id '{}' already exists.", item.id);
            return Err(Fault::new("item_create_duplicate_item_id", message).about("item.id"));
        }
        let place = match after {
            None => self.0.len(),
            Some("root") => 0,
            Some(id) => self.place(id).map(|place| place + 1).ok_or_else(|| {
                let message = format!("Error adding item: the previous item with id '{id}' does not exist.");
                Fault::new("item_create_invalid_previous_item_id", message).about("previous_item_id")
            })?,
        };
        let previous = place.checked_sub(1).and_then(|before| self.0.get(before)).map(|item| item.id.clone());
        outbox.event("conversation.item.added", json!({"previous_item_id": previous, "item": item.shown}));
        if item.shown["status"] != "in_progress" {
            outbox.event("conversation.item.done", json!({"previous_item_id": previous, "item": item.shown}));
        }
        self.0.insert(place, item);
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        let mut bytes: usize = self.0.iter().map(|item| item.bytes).sum();
        let mut surplus = 0;
        for item in &self.0 {
            if self.0.len() - surplus <= MOST && bytes <= MOST_BYTES {
                break;
            }
            surplus += 1;
            bytes -= item.bytes;
        }
        self.0.drain(..surplus);
    }

    /// Replaces an item that was in progress and says that it is done.
    pub(super) fn finish(&mut self, item: Item, outbox: &mut Outbox) {
        if let Some(place) = self.place(&item.id) {
            let previous = place.checked_sub(1).and_then(|before| self.0.get(before)).map(|item| item.id.clone());
            outbox.event("conversation.item.done", json!({"previous_item_id": previous, "item": item.shown}));
            if let Some(old) = self.0.get_mut(place) {
                *old = item;
            }
        }
    }

    /// Writes down what the user said.
    pub(super) fn transcribed(&mut self, id: &str, transcript: &str) {
        if let Some(item) = self.place(id).and_then(|place| self.0.get_mut(place)) {
            item.shown["content"][0]["transcript"] = json!(transcript);
        }
    }

    pub(super) fn retrieve(&self, id: &str, outbox: &mut Outbox) -> Result<(), Fault> {
        let item = self.place(id).and_then(|place| self.0.get(place)).ok_or_else(|| absent("retriev", id))?;
        outbox.event("conversation.item.retrieved", json!({"item": item.shown}));
        Ok(())
    }

    pub(super) fn delete(&mut self, id: &str, outbox: &mut Outbox) -> Result<(), Fault> {
        let place = self.place(id).ok_or_else(|| absent("delet", id))?;
        self.0.remove(place);
        outbox.event("conversation.item.deleted", json!({"item_id": id}));
        Ok(())
    }

    /// Cuts an assistant's audio where the user stopped hearing it; its transcript goes with it.
    pub(super) fn truncate(&mut self, id: &str, index: u64, end: Duration, outbox: &mut Outbox) -> Result<(), Fault> {
        let place = self.place(id).ok_or_else(|| absent("truncat", id))?;
        let Some(item) = self.0.get_mut(place) else { return Ok(()) };
        if !item.is("message") || !item.is_from("assistant") {
            let message = "Only model output audio messages can be truncated.";
            return Err(Fault::new("invalid_value", message).about("item_id"));
        }
        let part = usize::try_from(index).ok().and_then(|index| item.shown["content"].get_mut(index));
        let Some(part) = part.filter(|part| part["type"] == "output_audio") else {
            let message = format!("Error truncating item: there is no audio at content index {index}.");
            return Err(Fault::new("invalid_value", message).about("content_index"));
        };
        if end > item.audio {
            let message = format!("Audio content of {}ms is already shorter than {}ms", item.audio.as_millis(), end.as_millis());
            return Err(Fault::new("invalid_value", message).about("audio_end_ms"));
        }
        part["transcript"] = json!("");
        item.audio = end;
        let end = u64::try_from(end.as_millis()).unwrap_or(u64::MAX);
        outbox.event("conversation.item.truncated", json!({"item_id": id, "content_index": index, "audio_end_ms": end}));
        Ok(())
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.0.iter().position(|item| item.id == id)
    }
}

/// `verb` without its ending: delet, retriev, truncat.
fn absent(verb: &str, id: &str) -> Fault {
    let code = match verb {
        "delet" => "item_delete_invalid_item_id",
        "truncat" => "item_truncate_invalid_item_id",
        _ => "item_retrieve_invalid_item_id",
    };
    Fault::new(code, format!("Error {verb}ing item: the item with id '{id}' does not exist.")).about("item_id")
}
