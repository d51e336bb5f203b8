//! Where the bytes of a segment come from, front to back.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Attempt, Error, Result};
use crate::path::escape;
use crate::rclone_sync::layout::Places;
use crate::storage::Store;

/// A file, or an object that is read by ranges.
pub(super) enum Source {
    File { path: PathBuf, file: BufReader<File> },
    Object(Box<Ranges>),
}

/// An object that is read by ranges, the next of which are on their way while one is used.
pub(super) struct Ranges {
    store: Store,
    runtime: Handle,
    key: String,
    /// Where the next range starts.
    at: u64,
    size: u64,
    window: u64,
    /// Ranges on their way: one is used meanwhile, so that one more than this is in memory.
    ahead: usize,
    coming: VecDeque<JoinHandle<Result<Bytes>>>,
    buffer: Bytes,
}

impl Source {
    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = File::open(path).attempt(|| format!("read {}", escape(path.as_os_str().as_encoded_bytes())))?;
        Ok(Self::File { path: path.to_owned(), file: BufReader::with_capacity(256 << 10, file) })
    }

    /// An object of the control area; `window` bytes a range, `ahead` of them on their way.
    pub(super) fn object(places: &Places, key: String, size: u64, (window, ahead): (u64, usize)) -> Self {
        Self::Object(Box::new(Ranges {
            store: places.control.clone(),
            runtime: places.runtime().clone(),
            key,
            at: 0,
            size,
            window: window.max(1),
            ahead: ahead.max(1),
            coming: VecDeque::new(),
            buffer: Bytes::new(),
        }))
    }

    /// Reads exactly `out.len()` bytes.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<()> {
        match self {
            Self::File { path, file } => file.read_exact(out).map_err(|cause| {
                let said = format!("read {}", escape(path.as_os_str().as_encoded_bytes()));
                if cause.kind() == std::io::ErrorKind::UnexpectedEof {
                    return Error::corrupt(format!("{said}: it ends early"));
                }
                Error::new(crate::error::kind_of_io(&cause), said).with_source(cause)
            }),
            Self::Object(ranges) => ranges.read(out),
        }
    }
}

impl Ranges {
    fn read(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            if self.buffer.is_empty() {
                self.fill()?;
            }
            let len = out.len().min(self.buffer.len());
            let (head, rest) = out.split_at_mut(len);
            self.buffer.copy_to_slice(head);
            out = rest;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        while self.coming.len() < self.ahead && self.at < self.size {
            let range = self.at..self.size.min(self.at.saturating_add(self.window));
            self.at = range.end;
            let (store, key) = (self.store.clone(), self.key.clone());
            self.coming.push_back(self.runtime.spawn(async move { store.get_range(&key, range).await }));
        }
        let Some(next) = self.coming.pop_front() else {
            return Err(Error::corrupt(format!("{} ends early", self.key)));
        };
        self.buffer = self
            .runtime
            .block_on(next)
            .map_err(|cause| Error::bug(format!("read {}", self.key)).with_source(cause))??;
        Ok(())
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        for range in &self.coming {
            range.abort();
        }
    }
}
