//! Memory for contents of files, which goes back to the system as soon as it is given back.

/// From this size on; below it there is little to be given back.
const FROM: usize = 1 << 20;
/// The C library keeps apart for each thread what the thread gives back, up to this size, and may so keep several times what a push or a pull has in use.
/// What is larger is mapped by itself, and what of it is not touched costs nothing.
const KEPT_MAX: usize = 32 << 20;

/// An empty buffer with room for so many bytes.
pub(super) fn buffer(bytes: usize) -> Vec<u8> {
    if bytes < FROM { Vec::with_capacity(bytes) } else { Vec::with_capacity(bytes.max(KEPT_MAX + 1)) }
}

/// Zeros, to be read into.
pub(super) fn zeros(bytes: usize) -> Vec<u8> {
    let mut buffer = buffer(bytes);
    buffer.resize(bytes, 0);
    buffer
}
