//! The fields of a session, as the API's reference lists them.

use super::super::shape::{Record, Shape};

/// Longest instructions, in characters.
pub(in crate::sandbox) const INSTRUCTIONS: usize = 128 * 1024;
const NAME: usize = 256;
const TEXT: usize = 16 * 1024;
const TOOLS: usize = 128;

const FORMAT: Shape = Shape::Tagged(&[
    ("audio/pcm", &Record { required: &[], fields: &[("rate", Shape::Integer(24_000, 24_000))] }),
    ("audio/pcmu", &Record { required: &[], fields: &[] }),
    ("audio/pcma", &Record { required: &[], fields: &[] }),
]);

const TRANSCRIPTION: Record = Record {
    required: &[],
    fields: &[
        ("model", Shape::Text(NAME)),
        ("language", Shape::Text(NAME)),
        ("languages", Shape::List(&Shape::Text(NAME), 32)),
        ("prompt", Shape::Text(TEXT)),
        ("keywords", Shape::List(&Shape::Text(NAME), 1000)),
        ("delay", Shape::Word(&["minimal", "low", "medium", "high", "xhigh"])),
    ],
};

const NOISE_REDUCTION: Record = Record {
    required: &[],
    fields: &[("type", Shape::Word(&["near_field", "far_field"])), ("strength", Shape::Decimal(0.0, 100.0))],
};

const TURN_DETECTION: Shape = Shape::Tagged(&[
    (
        "server_vad",
        &Record {
            required: &[],
            fields: &[
                ("threshold", Shape::Decimal(0.0, 1.0)),
                ("prefix_padding_ms", Shape::Integer(0, 5_000)),
                ("silence_duration_ms", Shape::Integer(0, 10_000)),
                ("idle_timeout_ms", Shape::Either(&[Shape::Null, Shape::Integer(5_000, 30_000)])),
                ("create_response", Shape::Flag),
                ("interrupt_response", Shape::Flag),
                ("model_version", Shape::Text(NAME)),
            ],
        },
    ),
    (
        "semantic_vad",
        &Record {
            required: &[],
            fields: &[
                ("eagerness", Shape::Word(&["low", "medium", "high", "auto"])),
                ("create_response", Shape::Flag),
                ("interrupt_response", Shape::Flag),
                ("model_version", Shape::Text(NAME)),
            ],
        },
    ),
]);

const INPUT: Record = Record {
    required: &[],
    fields: &[
        ("format", FORMAT),
        ("transcription", Shape::Either(&[Shape::Null, Shape::Record(&TRANSCRIPTION)])),
        ("noise_reduction", Shape::Either(&[Shape::Null, Shape::Record(&NOISE_REDUCTION)])),
        ("turn_detection", Shape::Either(&[Shape::Null, TURN_DETECTION])),
    ],
};

const VOICE: Shape = Shape::Either(&[
    Shape::Word(&["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]),
    Shape::Record(&Record { required: &["id"], fields: &[("id", Shape::Text(NAME))] }),
]);

const OUTPUT: Record =
    Record { required: &[], fields: &[("format", FORMAT), ("voice", VOICE), ("speed", Shape::Decimal(0.25, 1.5))] };

const TOOL: Shape = Shape::Tagged(&[
    (
        "function",
        &Record {
            required: &["name"],
            fields: &[("name", Shape::Text(NAME)), ("description", Shape::Text(TEXT)), ("parameters", Shape::Map)],
        },
    ),
    (
        "mcp",
        &Record {
            required: &["server_label"],
            fields: &[
                ("server_label", Shape::Text(NAME)),
                ("server_url", Shape::Text(TEXT)),
                ("connector_id", Shape::Text(NAME)),
                ("tunnel_id", Shape::Text(NAME)),
                ("authorization", Shape::Text(TEXT)),
                ("headers", Shape::Anything),
                ("allowed_tools", Shape::Anything),
                ("require_approval", Shape::Anything),
                ("server_description", Shape::Text(TEXT)),
                ("defer_loading", Shape::Flag),
                ("allowed_callers", Shape::Anything),
            ],
        },
    ),
]);

pub(in crate::sandbox) const TOOL_LIST: Shape = Shape::List(&TOOL, TOOLS);

pub(in crate::sandbox) const TOOL_CHOICE: Shape = Shape::Either(&[
    Shape::Word(&["none", "auto", "required"]),
    Shape::Tagged(&[
        ("function", &Record { required: &["name"], fields: &[("name", Shape::Text(NAME))] }),
        (
            "mcp",
            &Record {
                required: &["server_label"],
                fields: &[("server_label", Shape::Text(NAME)), ("name", Shape::Either(&[Shape::Null, Shape::Text(NAME)]))],
            },
        ),
    ]),
]);

pub(in crate::sandbox) const MAX_OUTPUT_TOKENS: Shape =
    Shape::Either(&[Shape::Word(&["inf"]), Shape::Integer(1, 4096), Shape::Null]);

pub(in crate::sandbox) const OUTPUT_MODALITIES: Shape = Shape::List(&Shape::Word(&["audio", "text"]), 2);

pub(in crate::sandbox) const REASONING: Shape = Shape::Either(&[
    Shape::Null,
    Shape::Record(&Record { required: &[], fields: &[("effort", Shape::Word(&["minimal", "low", "medium", "high", "xhigh"]))] }),
]);

const INCLUDE: Shape = Shape::Either(&[Shape::Null, Shape::List(&Shape::Word(&["item.input_audio_transcription.logprobs"]), 8)]);

const NULL_OR_OBJECT: Shape = Shape::Either(&[Shape::Null, Shape::Map]);

pub(in crate::sandbox) const REALTIME: Record = Record {
    required: &[],
    fields: &[
        ("model", Shape::Text(NAME)),
        ("instructions", Shape::Text(INSTRUCTIONS)),
        ("output_modalities", OUTPUT_MODALITIES),
        ("max_output_tokens", MAX_OUTPUT_TOKENS),
        (
            "audio",
            Shape::Record(&Record {
                required: &[],
                fields: &[("input", Shape::Record(&INPUT)), ("output", Shape::Record(&OUTPUT))],
            }),
        ),
        ("tools", TOOL_LIST),
        ("tool_choice", TOOL_CHOICE),
        ("parallel_tool_calls", Shape::Flag),
        ("reasoning", REASONING),
        ("truncation", Shape::Either(&[Shape::Word(&["auto", "disabled"]), Shape::Map])),
        ("tracing", Shape::Either(&[Shape::Null, Shape::Word(&["auto"]), Shape::Map])),
        ("prompt", NULL_OR_OBJECT),
        ("include", INCLUDE),
    ],
};

pub(in crate::sandbox) const TRANSCRIPTION_SESSION: Record = Record {
    required: &[],
    fields: &[
        ("audio", Shape::Record(&Record { required: &[], fields: &[("input", Shape::Record(&INPUT))] })),
        ("include", INCLUDE),
    ],
};

/// Has no `type` in requests.
pub(in crate::sandbox) const TRANSLATION_SESSION: Record = Record {
    required: &["model"],
    fields: &[
        ("model", Shape::Text(NAME)),
        (
            "audio",
            Shape::Record(&Record {
                required: &[],
                fields: &[
                    (
                        "input",
                        Shape::Record(&Record {
                            required: &[],
                            fields: &[
                                ("transcription", Shape::Either(&[Shape::Null, Shape::Record(&TRANSCRIPTION)])),
                                ("noise_reduction", Shape::Either(&[Shape::Null, Shape::Record(&NOISE_REDUCTION)])),
                            ],
                        }),
                    ),
                    ("output", Shape::Record(&Record { required: &[], fields: &[("language", Shape::Text(NAME))] })),
                ],
            }),
        ),
    ],
};

pub(in crate::sandbox) const LIVE_SESSION: Record = Record {
    required: &["model"],
    fields: &[
        ("model", Shape::Text(NAME)),
        ("instructions", Shape::Text(INSTRUCTIONS)),
        (
            "audio",
            Shape::Record(&Record {
                required: &[],
                fields: &[
                    ("format", Shape::Map),
                    ("output", Shape::Record(&Record { required: &[], fields: &[("voice", VOICE)] })),
                ],
            }),
        ),
        ("client", NULL_OR_OBJECT),
        ("delegation", NULL_OR_OBJECT),
        ("input", Shape::List(&Shape::Map, 128)),
        ("safety_identifier", Shape::Text(NAME)),
        ("store", Shape::Flag),
        ("triggers", Shape::List(&Shape::Map, 32)),
    ],
};
