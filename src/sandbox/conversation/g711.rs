//! Audio of sessions over WebSocket: PCM16 at 24 kHz, and G.711 at 8 kHz as telephone networks use it.

use super::super::session::Format;

/// Samples of 24 kHz in 20 ms.
pub(super) const FRAME: usize = 480;

/// Bytes of `format` for one second.
pub(super) fn bytes_per_second(format: Format) -> u32 {
    if format == Format::Pcm { 48_000 } else { 8_000 }
}

/// Samples at 24 kHz. An odd last byte of PCM is dropped.
pub(super) fn decode(format: Format, bytes: &[u8]) -> Vec<i16> {
    let tripled = |decode: fn(u8) -> i16| bytes.iter().flat_map(|byte| [decode(*byte); 3]).collect();
    match format {
        Format::Pcm => bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect(),
        Format::MuLaw => tripled(mu_law),
        Format::ALaw => tripled(a_law),
    }
}

pub(super) fn encode(format: Format, samples: &[i16]) -> Vec<u8> {
    // The mean of three samples is filter enough for a voice on a telephone.
    let mean = |three: &[i16]| three.iter().map(|sample| i32::from(*sample)).sum::<i32>() / 3;
    match format {
        Format::Pcm => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
        Format::MuLaw => samples.chunks_exact(3).map(|three| to_mu_law(mean(three))).collect(),
        Format::ALaw => samples.chunks_exact(3).map(|three| to_a_law(mean(three))).collect(),
    }
}

fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0xf) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84;
    signed(magnitude, byte & 0x80 != 0)
}

fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = ((byte >> 4) & 7, i32::from(byte & 0xf) << 4);
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    signed(magnitude, byte & 0x80 == 0)
}

fn signed(magnitude: i32, negative: bool) -> i16 {
    i16::try_from(if negative { -magnitude } else { magnitude }).unwrap_or(i16::MAX)
}

fn to_mu_law(sample: i32) -> u8 {
    let magnitude = sample.abs().min(32_635) + 0x84;
    let exponent = (24 - magnitude.leading_zeros()).min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0xf;
    !(sign(sample < 0) | byte(exponent) << 4 | low(mantissa))
}

fn to_a_law(sample: i32) -> u8 {
    let magnitude = sample.abs().min(32_767);
    let exponent = 24_u32.saturating_sub(magnitude.leading_zeros()).min(7);
    let mantissa = if exponent == 0 { magnitude >> 4 } else { magnitude >> (exponent + 3) } & 0xf;
    (sign(sample >= 0) | byte(exponent) << 4 | low(mantissa)) ^ 0x55
}

fn sign(set: bool) -> u8 {
    if set { 0x80 } else { 0 }
}

fn byte(exponent: u32) -> u8 {
    u8::try_from(exponent).unwrap_or(7)
}

fn low(mantissa: i32) -> u8 {
    u8::try_from(mantissa).unwrap_or(0xf)
}

#[cfg(test)]
mod tests {
    use super::{Format, decode, encode};

    #[test]
    fn telephone_audio_comes_back_nearly_as_it_was() {
        for format in [Format::MuLaw, Format::ALaw] {
            for sample in [0_i16, 1, -1, 40, -40, 300, -1000, 5000, -20_000, 32_000, i16::MAX, i16::MIN] {
                let back = decode(format, &encode(format, &[sample; 3]));
                let off = (i32::from(back[0]) - i32::from(sample)).abs();
                assert!(off <= 16 + i32::from(sample).abs() / 16, "{format:?}: {sample} came back as {}", back[0]);
            }
        }
        let exact = [1, -2, 3, i16::MIN];
        assert_eq!(decode(Format::Pcm, &encode(Format::Pcm, &exact)), exact);
    }
}
