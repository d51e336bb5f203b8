//! Uploads in parts, for objects too big for one request.

use async_trait::async_trait;
use futures::FutureExt;
use object_store::retry::{RetryContext, RetryFailure, RetryPolicy};
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::counts::Kind;
use super::failure::Failure;
use super::governor::{Governor, give_up_after, load_of};
use super::throttle::time_for;

/// An upload whose parts are counted and limited. [`PartPolicy`] repeats them; finishing is not repeated, because
/// the store forgets the upload when it has finished it.
#[derive(Debug)]
pub(super) struct Upload {
    governor: Governor,
    inner: Box<dyn MultipartUpload>,
}

impl Upload {
    pub(super) fn new(governor: Governor, inner: Box<dyn MultipartUpload>) -> Self {
        Self { governor, inner }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = u64::try_from(data.content_length()).unwrap_or(u64::MAX);
        let part = self.inner.put_part(data);
        let governor = self.governor.clone();
        async move {
            let shared = &governor.shared;
            shared.bandwidth.up.pass(bytes).await;
            let place = shared.flight.enter().await;
            shared.counters.sent(Kind::Multipart, bytes);
            let limit = shared.patience.total.saturating_add(time_for(bytes, shared.patience.slowest));
            let answer = give_up_after(limit, part).await;
            place.leave(load_of(&answer));
            answer
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.governor.shared.counters.sent(Kind::Multipart, 0);
        // A store may copy gigabytes together before it answers.
        give_up_after(self.governor.shared.patience.total, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.governor.shared.counters.sent(Kind::Multipart, 0);
        give_up_after(self.governor.shared.patience.total, self.inner.abort()).await
    }
}

/// Repeats parts as the governor repeats requests.
#[derive(Debug)]
pub(super) struct PartPolicy {
    governor: Governor,
}

impl PartPolicy {
    pub(super) fn new(governor: Governor) -> Self {
        Self { governor }
    }
}

#[async_trait]
impl RetryPolicy for PartPolicy {
    async fn retry(&self, context: RetryContext) -> bool {
        let failure = match context.failure {
            RetryFailure::Transport(_) => Failure::Lost,
            RetryFailure::Status(status) if status.is_server_error() || status.is_success() => {
                Failure::Busy { after: None }
            }
            _ => Failure::Final,
        };
        let sent = u32::try_from(context.attempt).unwrap_or(u32::MAX);
        let mut retries = self.governor.retries().after(sent, context.elapsed);
        let again = retries.again(failure).await;
        if again {
            self.governor.shared.counters.sent(Kind::Multipart, 0);
        }
        again
    }
}
