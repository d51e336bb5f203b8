//! Memory for contents of files, which goes back to the system as soon as it is given back.

use crate::storage::apart;

/// An empty buffer with room for so many bytes.
pub(super) fn buffer(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(apart(bytes))
}

/// Zeros, to be read into.
pub(super) fn zeros(bytes: usize) -> Vec<u8> {
    let mut buffer = buffer(bytes);
    buffer.resize(bytes, 0);
    buffer
}
