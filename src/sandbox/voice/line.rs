//! What the simulated assistant can say.

/// A recorded line. The recordings are made by `record.sh`, which holds the same sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Line {
    /// When a session begins.
    Greeting,
    /// After the user's first words.
    HeardYou,
    /// After further words.
    HeardAgain,
    /// After further words, in turn with `HeardAgain`; invites an interruption.
    Listening,
    /// After a typed message.
    Typed,
    /// After further typed messages.
    TypedAgain,
    /// Before a tool is called.
    ToolCall,
    /// After a tool's result.
    ToolResult,
    /// Less than a second.
    Short,
    /// About eight seconds, to be interrupted.
    Long,
    /// Before a simulated failure.
    Trouble,
    /// Before the call ends.
    Goodbye,
}

/// A line's recordings: Ogg Opus.
pub(super) struct Recording {
    pub(super) female: &'static [u8],
    pub(super) male: &'static [u8],
}

macro_rules! recording {
    ($name:literal) => {
        Recording {
            female: include_bytes!(concat!("lines/slt-", $name, ".opus")),
            male: include_bytes!(concat!("lines/rms-", $name, ".opus")),
        }
    };
}

impl Line {
    /// Each of them, in the order of their declaration.
    pub(in crate::sandbox) const ALL: [Self; 12] = [
        Self::Greeting,
        Self::HeardYou,
        Self::HeardAgain,
        Self::Listening,
        Self::Typed,
        Self::TypedAgain,
        Self::ToolCall,
        Self::ToolResult,
        Self::Short,
        Self::Long,
        Self::Trouble,
        Self::Goodbye,
    ];

    /// The sentence.
    pub(in crate::sandbox) fn text(self) -> &'static str {
        match self {
            Self::Greeting => "Hello! I am Ephemint's simulated assistant. Nothing you say leaves this machine.",
            Self::HeardYou => "I heard you. I am a simulation and cannot understand words, but your microphone works.",
            Self::HeardAgain => "That came through clearly as well. A real model would answer you here.",
            Self::Listening => "I am still listening. You can also interrupt me while I speak.",
            Self::Typed => "Thanks, I got your text. A real model would now answer it.",
            Self::TypedAgain => "Your message arrived. My answers here are recorded lines.",
            Self::ToolCall => "One moment, please. I will ask one of your tools.",
            Self::ToolResult => "Thank you. Your tool has answered, and I have read its result.",
            Self::Short => "All right.",
            Self::Long => {
                "Interrupt me whenever you like. I count slowly. One, two, three, four, five, six, seven, eight, nine, ten."
            }
            Self::Trouble => "Sorry, something went wrong on purpose. This scenario simulates a failure.",
            Self::Goodbye => "Thank you for trying the simulation. Goodbye!",
        }
    }

    pub(super) fn recording(self) -> Recording {
        match self {
            Self::Greeting => recording!("greeting"),
            Self::HeardYou => recording!("heard_you"),
            Self::HeardAgain => recording!("heard_again"),
            Self::Listening => recording!("listening"),
            Self::Typed => recording!("typed"),
            Self::TypedAgain => recording!("typed_again"),
            Self::ToolCall => recording!("tool_call"),
            Self::ToolResult => recording!("tool_result"),
            Self::Short => recording!("short"),
            Self::Long => recording!("long"),
            Self::Trouble => recording!("trouble"),
            Self::Goodbye => recording!("goodbye"),
        }
    }
}
