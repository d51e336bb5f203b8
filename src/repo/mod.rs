//! The store: a deduplicating, encrypted store of chunks, pages and snapshots over `storage`.
//!
//! Owns every byte of the format (`docs/format.md`) and the order of writes: packs, then index, then snapshot; removal in
//! reverse. Never interprets the user's files and never prints.

mod absent;
mod codec;
mod compact;
mod config;
mod copies;
mod fetch;
mod forgotten;
mod index;
mod inspect;
mod listing;
mod marks;
mod pack;
mod packer;
mod page_window;
mod pins;
mod reader;
mod removal;
mod repository;
mod rescue;
mod salvage;
mod session;
mod session_record;
mod slots;
mod small;
mod snapshot;
mod snapshot_names;
mod trash;
mod turn;
mod verified;
mod writer;

pub use absent::{Condemned, Gone};
pub use codec::Compression;
pub use compact::FANOUT as MERGED_FROM;
pub use config::{Config, Features};
pub use copies::{CONFIG, NamedKind, Promise, repo_id};
pub use fetch::{Deliver, Wanted};
pub use forgotten::{Forgotten, NotRemoved};
pub use index::{IndexEntry, IndexRow, PREFIX_LEN, PackInfo};
pub use inspect::{OpenSegment, StoredPack, StoredPacks, intact_blobs, verify_pack};
pub use listing::{ListedSession, Listing};
pub use marks::{Form, Half, Key, Mark, MarksObject, Rank, TakeMarks, half_of};
pub use pack::{PackEntry, pack_key, read_pack};
pub use pins::{Memory, Pin, Pins, Stance};
pub use reader::Reader;
pub use removal::{Other, SeenByPrunes};
pub use repository::{InitOptions, OpenOptions, Repository};
pub use rescue::{Directory, Hinted, IndexWriter, KnownPlaces, Salvaged, salvage};
pub use session::{Session, Unreadable};
pub use session_record::SessionKind;
pub use snapshot::{Fact, Known, Snapshot, SnapshotFilter, Status, Summary};
pub use snapshot_names::{Selector, SnapshotName};
pub use trash::Trash;
pub use verified::Verified;
pub use writer::{BlobWriter, Stored, WriterReport};

pub use crate::crypto::{
    BlobKind, Entropy, KdfParams, KeyRing, SharedEntropy, Slot, SlotKind, SlotLabel, SystemEntropy,
};
