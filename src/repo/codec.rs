//! Compression of blobs: one zstd frame, or none where it does not pay. Spec: `docs/format.md` section 6.

use std::borrow::Cow;
use std::cell::RefCell;
use std::str::FromStr;

use crate::catalog::Codec;
use crate::error::{Error, Result};
use crate::limits::BLOB_MAX;

/// How hard a writer tries, in restic's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Store everything as it is.
    Off,
    /// zstd level 3.
    #[default]
    Auto,
    /// zstd level 1.
    Fastest,
    /// zstd level 9.
    Better,
    /// zstd level 19.
    Max,
}

impl Compression {
    const fn level(self) -> Option<i32> {
        match self {
            Self::Off => None,
            Self::Fastest => Some(1),
            Self::Auto => Some(3),
            Self::Better => Some(9),
            Self::Max => Some(19),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "fastest" => Ok(Self::Fastest),
            "better" => Ok(Self::Better),
            "max" => Ok(Self::Max),
            _ => Err(Error::invalid(format!("compression {text:?} is none of auto, off, fastest, better, max"))),
        }
    }
}

/// Contexts and buffers of one thread. They keep a few MiB each, so there is one set per worker and no more.
struct Local {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
    decompressor: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
    check: Vec<u8>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

fn with_local<T>(level: i32, work: impl FnOnce(&mut Local) -> Result<T>) -> Result<T> {
    let fail = |cause: std::io::Error| Error::bug("set up zstd").with_source(cause);
    LOCAL.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Local {
                compressor: zstd::bulk::Compressor::new(level).map_err(fail)?,
                level,
                decompressor: zstd::bulk::Decompressor::new().map_err(fail)?,
                buffer: Vec::new(),
                check: Vec::new(),
            });
        }
        let local = slot.as_mut().ok_or_else(|| Error::bug("set up zstd"))?;
        if local.level != level {
            local.compressor.set_compression_level(level).map_err(fail)?;
            local.level = level;
        }
        work(local)
    })
}

/// Hands `raw`, compressed if that makes it shorter, to `take`. With `verify` the compressed bytes are first decompressed again and
/// compared: zstd bugs and bad memory have corrupted backups of others before they were stored (restic #4523).
pub(super) fn encode<T>(
    raw: &[u8],
    compression: Compression,
    verify: bool,
    take: impl FnOnce(Codec, &[u8]) -> Result<T>,
) -> Result<T> {
    let Some(level) = compression.level() else { return take(Codec::Stored, raw) };
    with_local(level, |local| {
        if !looks_compressible(local, raw) {
            return take(Codec::Stored, raw);
        }
        local.buffer.clear();
        local.buffer.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        local
            .compressor
            .compress_to_buffer(raw, &mut local.buffer)
            .map_err(|cause| Error::bug("compress a blob").with_source(cause))?;
        if local.buffer.len() >= raw.len() {
            return take(Codec::Stored, raw);
        }
        if verify {
            local.check.clear();
            local.check.reserve(raw.len());
            let same =
                local.decompressor.decompress_to_buffer(&local.buffer, &mut local.check).is_ok() && local.check == raw;
            if !same {
                return Err(Error::bug("a compressed blob does not decompress to itself").with_hint(
                    "this is a fault of the memory or of zstd; nothing was stored; test the machine's memory",
                ));
            }
        }
        take(Codec::Zstd, &local.buffer)
    })
}

/// Compresses 16 KiB taken from sixteen places of a long blob: where that saves less than 3 %, the whole will not pay. The places are spread
/// by the golden ratio: at equal distances they would all meet the same part of a file that repeats its layout.
fn looks_compressible(local: &mut Local, raw: &[u8]) -> bool {
    const PIECE: usize = 1 << 10;
    const PIECES: u64 = 16;
    /// 2^64 divided by the golden ratio.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    if raw.len() < 64 << 10 {
        return true;
    }
    let room = (raw.len() - PIECE) as u128;
    let place = |i: u64| usize::try_from((u128::from(i.wrapping_mul(STEP)) * room) >> 64).unwrap_or(0);
    let sample: Vec<u8> = (0..PIECES).map(place).filter_map(|at| raw.get(at..at + PIECE)).flatten().copied().collect();
    local.buffer.clear();
    local.buffer.reserve(zstd::zstd_safe::compress_bound(sample.len()));
    match local.compressor.compress_to_buffer(&sample, &mut local.buffer) {
        Ok(len) => len * 100 < sample.len() * 97,
        Err(_) => true,
    }
}

/// The plaintext of a blob: exactly `raw_len` bytes, or an error.
///
/// # Errors
/// `Corrupt` when it is not one frame of that many bytes.
pub(super) fn decode(codec: Codec, bytes: &[u8], raw_len: u32) -> Result<Cow<'_, [u8]>> {
    let want = usize::try_from(raw_len).unwrap_or(usize::MAX);
    if want > BLOB_MAX {
        return Err(Error::corrupt(format!("blob says that it has {raw_len} bytes")));
    }
    match codec {
        Codec::Stored if bytes.len() == want => Ok(Cow::Borrowed(bytes)),
        Codec::Stored => Err(Error::corrupt("stored blob has another length than its plaintext")),
        Codec::Zstd => {
            let one_frame = zstd::zstd_safe::find_frame_compressed_size(bytes).is_ok_and(|len| len == bytes.len());
            let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
            if !one_frame || size != Some(u64::from(raw_len)) {
                return Err(Error::corrupt("blob is not one zstd frame of its plaintext's length"));
            }
            // Any level: decompression does not use it.
            with_local(3, |local| {
                let mut plain = Vec::with_capacity(want);
                local
                    .decompressor
                    .decompress_to_buffer(bytes, &mut plain)
                    .map_err(|cause| Error::corrupt("decompress a blob").with_source(cause))?;
                if plain.len() == want {
                    Ok(Cow::Owned(plain))
                } else {
                    Err(Error::corrupt("blob decompresses to another length"))
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encoded(raw: &[u8], compression: Compression) -> (Codec, Vec<u8>) {
        encode(raw, compression, true, |codec, bytes| Ok((codec, bytes.to_vec()))).unwrap()
    }

    #[test]
    fn what_was_encoded_decodes_at_every_level() {
        for raw in [b"x".to_vec(), vec![0; 1 << 20], noise(300_000), [noise(100_000), vec![1; 100_000]].concat()] {
            for compression in
                [Compression::Off, Compression::Auto, Compression::Fastest, Compression::Better, Compression::Max]
            {
                let (codec, bytes) = encoded(&raw, compression);
                assert!(bytes.len() <= raw.len());
                assert_eq!(decode(codec, &bytes, u32::try_from(raw.len()).unwrap()).unwrap(), raw);
            }
        }
    }

    #[test]
    fn noise_is_stored_as_it_is_and_half_noise_is_not() {
        assert_eq!(encoded(&noise(1 << 20), Compression::Auto).0, Codec::Stored);
        assert_eq!(encoded(&[noise(500_000), vec![1; 500_000]].concat(), Compression::Auto).0, Codec::Zstd);
    }

    #[test]
    fn a_layout_that_repeats_does_not_hide_what_is_compressible() {
        let block = [vec![b'a'; 48 << 10], noise(16 << 10)].concat();
        for shift in 0..64 {
            let raw = block.repeat(9)[shift << 10..(shift << 10) + (512 << 10)].to_vec();
            assert_eq!(encoded(&raw, Compression::Auto).0, Codec::Zstd, "{shift}");
        }
    }

    #[test]
    fn a_frame_that_decodes_to_more_or_less_or_is_followed_by_more_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        for len in [0, 1, 100, 8 << 20] {
            assert!(decode(Codec::Zstd, &bomb, len).is_err());
        }
        let mut two = zstd::bulk::compress(b"one", 1).unwrap();
        two.extend(zstd::bulk::compress(b"", 1).unwrap());
        assert!(decode(Codec::Zstd, &two, 3).is_err());
        assert!(decode(Codec::Stored, b"abc", 2).is_err());
        assert!(decode(Codec::Zstd, b"", 0).is_err());
    }
}
