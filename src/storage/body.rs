//! Bodies and listings that go on where they broke off.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::counts::Kind;
use super::failure::{WrongBody, generic};
use super::flight::Place;
use super::governor::{Governor, Request, give_up_after, load_of};
use super::retry::Retries;

/// The body of one object or range. It ends after exactly the bytes that were announced, or with an error.
pub(super) struct Body {
    governor: Governor,
    location: Path,
    options: GetOptions,
    stream: Option<BoxStream<'static, Result<Bytes>>>,
    /// What is still to come.
    left: Range<u64>,
    size: u64,
    e_tag: Option<String>,
    retries: Retries,
}

impl Body {
    /// The body that `stream` begins to deliver, of the request and the answer given.
    pub(super) fn new(
        governor: Governor,
        (location, options): (Path, GetOptions),
        stream: BoxStream<'static, Result<Bytes>>,
        (meta, range): (&ObjectMeta, Range<u64>),
    ) -> Self {
        let retries = governor.retries();
        let (size, e_tag) = (meta.size, meta.e_tag.clone());
        Self { governor, location, options, stream: Some(stream), left: range, size, e_tag, retries }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut body| async move { Ok(body.next().await?.map(|bytes| (bytes, body))) }).boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let piece = self.piece().await;
            let error = match piece {
                // Nothing is no progress: the retries must not begin anew.
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => match self.take(&bytes) {
                    Ok(()) => {
                        self.governor.shared.bandwidth.down.pass(length(&bytes)).await;
                        return Ok(Some(bytes));
                    }
                    Err(error) => return Err(error),
                },
                // What goes wrong after the last byte does not matter.
                Ok(None) | Err(_) if self.left.is_empty() => return Ok(None),
                Ok(None) => {
                    generic(WrongBody(format!("the body ends {} bytes early", self.left.end - self.left.start)))
                }
                Err(error) => error,
            };
            self.stream = None;
            if !self.retries.again_after(&error).await {
                return Err(error);
            }
        }
    }

    fn take(&mut self, bytes: &Bytes) -> Result<()> {
        let start = self.left.start.saturating_add(length(bytes));
        if start > self.left.end {
            return Err(generic(WrongBody("the body is longer than it says".to_owned())));
        }
        self.left.start = start;
        self.governor.shared.counters.received(length(bytes));
        if self.retries.done() > 0 {
            self.governor.shared.budget.give_back(self.retries.done());
            self.retries = self.governor.retries();
        }
        Ok(())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.reopen().await?,
        };
        let limit = self.governor.shared.patience.answer;
        let piece = give_up_after(limit, async { stream.next().await.transpose() }).await;
        self.stream = Some(stream);
        piece
    }

    /// Asks for the rest, and makes sure that it is the rest of the same object.
    async fn reopen(&mut self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let options = GetOptions { range: Some(GetRange::Bounded(self.left.clone())), ..self.options.clone() };
        let send = self.governor.inner.get_opts(&self.location, options);
        let result = self.governor.once(Request::of(Kind::GetRange), send).await?;
        if result.meta.e_tag != self.e_tag || result.meta.size != self.size {
            return Err(generic(WrongBody("the object changed while it was read".to_owned())));
        }
        if result.range != self.left {
            return Err(generic(WrongBody("the store answered with another range".to_owned())));
        }
        Ok(result.into_stream())
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// From this size on; below it there is little to be given back.
const APART_FROM: usize = 1 << 20;
/// The C library keeps apart for each thread what the thread gives back, up to this size, and may so keep several times what is in use at once.
/// What is larger is mapped by itself, and what of it is not touched costs nothing.
const KEPT_MAX: usize = 32 << 20;

/// The capacity of a buffer for so many bytes that goes back to the system as soon as it is given back. Its pages are new ones each time, at about
/// 0.2 ms for each MiB.
pub fn apart(bytes: usize) -> usize {
    if bytes < APART_FROM { bytes } else { bytes.max(KEPT_MAX + 1) }
}

/// The bytes of an answer, if they are as many as it announced.
pub(super) async fn collect(result: GetResult) -> Result<Option<Bytes>> {
    collect_into(result, |bytes| bytes).await
}

/// The same in a buffer of a capacity of one's own choice.
pub(super) async fn collect_into(result: GetResult, capacity: fn(usize) -> usize) -> Result<Option<Bytes>> {
    let expected = usize::try_from(result.range.end.saturating_sub(result.range.start)).ok();
    let mut pieces = match result.payload {
        GetResultPayload::File(file, _) => return collect_file(file, result.range.start, expected, capacity).await,
        GetResultPayload::Stream(pieces) => pieces,
    };
    let Some(first) = pieces.next().await.transpose()? else {
        return Ok((expected == Some(0)).then(Bytes::new));
    };
    let Some(second) = pieces.next().await.transpose()? else {
        return Ok((expected == Some(first.len())).then_some(first));
    };
    let mut all = BytesMut::with_capacity(capacity(expected.unwrap_or(0)));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(piece) = pieces.next().await.transpose()? {
        all.extend_from_slice(&piece);
    }
    Ok((expected == Some(all.len())).then(|| all.freeze()))
}

/// Reads a range of a local file in one piece: as a stream it comes by 8 KiB, each by a trip to another thread.
async fn collect_file(
    file: File,
    offset: u64,
    len: Option<usize>,
    capacity: fn(usize) -> usize,
) -> Result<Option<Bytes>> {
    let Some(len) = len else { return Ok(None) };
    // The memory is taken here, on one of the two threads that carry requests: the allocator keeps freed memory apart for each thread that
    // asks it for some, and there are many that read.
    let buffer = Vec::with_capacity(capacity(len));
    let is_apart = capacity(len) > len;
    let read = move || if is_apart { fill_some(buffer, file, (offset, len)) } else { fill(buffer, &file, offset, len) };
    let read = tokio::task::spawn_blocking(read).await;
    let bytes = read.map_err(generic)?.map_err(generic)?;
    Ok((bytes.len() == len).then(|| bytes.into()))
}

/// The same for a buffer that has room for more; in some more calls to the kernel.
fn fill_some(mut buffer: Vec<u8>, mut file: File, (offset, len): (u64, usize)) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    file.take(u64::try_from(len).unwrap_or(u64::MAX)).read_to_end(&mut buffer)?;
    Ok(buffer)
}

fn fill(mut buffer: Vec<u8>, file: &File, mut offset: u64, len: usize) -> io::Result<Vec<u8>> {
    while buffer.len() < len {
        match rustix::io::pread(file, spare_capacity(&mut buffer), offset) {
            Ok(0) => break,
            Ok(count) => offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    buffer.truncate(len);
    Ok(buffer)
}

/// Stores list this many objects at a time.
const PAGE: u64 = 1000;

/// A listing. If it breaks off it goes on after its last key where the store lists in order; elsewhere
/// it is repeated only while nothing has come of it yet.
pub(super) struct Listing {
    governor: Governor,
    prefix: Option<Path>,
    after: Option<Path>,
    stream: Option<BoxStream<'static, Result<ObjectMeta>>>,
    place: Option<Place>,
    /// Objects that the present stream delivered.
    delivered: u64,
    begun: bool,
    retries: Retries,
}

impl Listing {
    pub(super) fn new(governor: Governor, prefix: Option<Path>, after: Option<Path>) -> Self {
        let retries = governor.retries();
        Self { governor, prefix, after, stream: None, place: None, delivered: 0, begun: false, retries }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::try_unfold(self, |mut listing| async move { Ok(listing.next().await?.map(|meta| (meta, listing))) })
            .boxed()
    }

    async fn next(&mut self) -> Result<Option<ObjectMeta>> {
        loop {
            match self.entry().await {
                Ok(Some(meta)) => {
                    self.delivered_one(&meta);
                    return Ok(Some(meta));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    let in_vain = self.begun && !self.governor.shared.ordered;
                    if in_vain || !self.retries.again_after(&error).await {
                        return Err(error);
                    }
                    self.stream = None;
                }
            }
        }
    }

    fn delivered_one(&mut self, meta: &ObjectMeta) {
        let shared = &self.governor.shared;
        self.begun = true;
        self.delivered += 1;
        if self.delivered > PAGE && self.delivered % PAGE == 1 {
            shared.counters.sent(Kind::List, 0);
        }
        if shared.ordered {
            self.after = Some(meta.location.clone());
        }
        if self.retries.done() > 0 {
            shared.budget.give_back(self.retries.done());
            self.retries = self.governor.retries();
        }
    }

    async fn entry(&mut self) -> Result<Option<ObjectMeta>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await,
        };
        let limit = self.governor.shared.patience.answer;
        let entry = give_up_after(limit, async { stream.next().await.transpose() }).await;
        if let Some(place) = self.place.take() {
            place.leave(load_of(&entry));
        }
        self.stream = Some(stream);
        entry
    }

    async fn open(&mut self) -> BoxStream<'static, Result<ObjectMeta>> {
        self.place = Some(self.governor.shared.flight.enter().await);
        self.governor.shared.counters.sent(Kind::List, 0);
        self.delivered = 0;
        match &self.after {
            Some(after) => self.governor.inner.list_with_offset(self.prefix.as_ref(), after),
            None => self.governor.inner.list(self.prefix.as_ref()),
        }
    }
}
