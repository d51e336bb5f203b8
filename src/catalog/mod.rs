//! The catalogue: the sorted list of a volume's entries, cut into content-defined pages, and what is done with it:
//! encode, decode, walk a tree of pages, merge two sorted streams.
//!
//! Pure and synchronous: pages leave and arrive through closures, and this room knows neither keys nor stores.
//! It must never trust a byte that it decodes: whatever is read back is checked here, once, before it becomes an
//! [`Entry`]. Layout: `docs/format.md` section 9; what mirrors add to it: `docs/mirror.md`.

mod entry;
mod inner;
mod join;
mod list;
mod page;
mod page_decode;
mod tree;
pub(crate) mod wire;

pub use entry::{
    BlobRef, Codec, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, ObjectAt, Place, StoredObject,
    Timestamp, Xattr,
};
pub use inner::{ChildRef, InnerPage};
pub use join::{Joined, MergeJoin, Pathed, merge_join};
pub use list::{ChunkList, ChunkReader, FetchLists, INLINE_MAX, ListItem, store_chunks};
pub use page::{LeafPage, PageBuilder};
pub use page_decode::{decode_leaf, decode_mirror_leaf, leaf_blobs};
pub use tree::{FETCH_BATCH, FetchPages, StoredPage, TreeReader, TreeWriter};

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tree_tests;
