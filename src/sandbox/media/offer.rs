//! From an SDP offer to a peer and its answer.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::SdpOffer;
use str0m::channel::ChannelConfig;
use str0m::rtp::Extension;
use str0m::{Candidate, IceCreds, Rtc, RtcError};

use super::{MAX_WAITING, Rejected};

/// Highest id of a data channel (RFC 8831, 6.2).
const LAST_CHANNEL: u16 = 65_534;

/// Most characters of a reason that come from elsewhere.
const LONGEST_REASON: usize = 160;

/// ICE-lite with one candidate: this side's socket. Opus and data channels only; other media is refused in the answer. No feedback for
/// bandwidth estimation, which loopback does not need.
pub(super) fn accept(
    sdp: &str,
    dcid: Option<u16>,
    credentials: IceCreds,
    local: SocketAddr,
    now: Instant,
) -> Result<(Box<Rtc>, String), Rejected> {
    let offers = |media: &str| sdp.lines().any(|line| line.strip_prefix("m=").is_some_and(|line| line.starts_with(media)));
    let opus = offers("audio ") && sdp.to_ascii_lowercase().contains(" opus/48000");
    let channel = offers("application ");
    if !sdp.starts_with("v=0") {
        return Err(Rejected::Offer("it is not SDP, which begins with v=0".into()));
    }
    if !opus && !channel {
        let missing = "it has neither Opus audio (m=audio with opus/48000/2) nor a data channel (m=application)";
        return Err(Rejected::Offer(missing.into()));
    }
    if dcid.is_some_and(|id| id > LAST_CHANNEL) {
        return Err(Rejected::Offer(format!("dcid must be from 0 to {LAST_CHANNEL}")));
    }
    let offer = SdpOffer::from_sdp_string(sdp).map_err(|error| reason(&error))?;
    let mut rtc = Rtc::builder()
        .set_ice_lite(true)
        .set_local_ice_credentials(credentials)
        .clear_codecs()
        .clear_extension_map()
        .set_extension(1, Extension::AudioLevel)
        .set_extension(4, Extension::RtpMid)
        .enable_opus(true, false)
        .set_sctp_max_buffered_amount(MAX_WAITING)
        .build(now);
    let candidate = Candidate::host(local, "udp").map_err(|_| Rejected::Broken)?;
    rtc.add_local_candidate(candidate);
    let answer = rtc.sdp_api().accept_offer(offer).map_err(|error: RtcError| reason(&error))?;
    if let Some(id) = dcid.filter(|_| channel) {
        rtc.direct_api().create_data_channel(ChannelConfig { negotiated: Some(id), ..ChannelConfig::default() });
    }
    Ok((Box::new(rtc), answer.to_sdp_string()))
}

/// str0m's own words, which may quote the offer, in one line.
fn reason(error: &dyn std::error::Error) -> Rejected {
    let words: String = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Rejected::Offer(words.chars().take(LONGEST_REASON).collect::<String>().trim_end_matches('.').to_owned())
}
