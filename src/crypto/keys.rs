//! The master key and what is derived from it. Spec: `docs/format.md` section 2.

use std::fmt;

use crate::error::Result;
use crate::id::{BlobId, ContentHash, RepoId, SourceId};
use crate::secret::Key32;

use super::entropy::{self, Entropy, SharedEntropy, SystemEntropy};
use super::object::ObjectKind;

/// The 32 random bytes from which every key of a repository is derived.
#[derive(Clone, Debug)]
pub struct MasterKey(pub(super) Key32);

impl MasterKey {
    /// A new random master key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        Ok(Self(Key32::new(entropy::random(entropy)?)))
    }
}

/// What a blob holds; the two kinds have ids and packs of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// Content of the user's files.
    Data,
    /// Catalogue pages and chunk lists.
    Tree,
}

/// The keys of one repository. Sealing keys are derived when an object is opened; the ones used for each
/// blob or entry are kept.
#[derive(Clone)]
pub struct KeyRing {
    master: MasterKey,
    repo: RepoId,
    data_id: Key32,
    tree_id: Key32,
    file_id: Key32,
    source_id: Key32,
    salt: Key32,
    entropy: SharedEntropy,
}

impl KeyRing {
    /// The keys that `master` gives in repository `repo`. Salts are drawn from the operating system's random bytes.
    pub fn new(master: MasterKey, repo: RepoId) -> Self {
        let key = |purpose| derive(&master, repo, purpose, 0);
        Self {
            data_id: key("data-id"),
            tree_id: key("tree-id"),
            file_id: key("file-id"),
            source_id: key("source-id"),
            salt: key("salt"),
            entropy: SystemEntropy::new(),
            master,
            repo,
        }
    }

    /// The same keys; ids and salts are drawn from `entropy`.
    #[must_use]
    pub fn drawing_from(self, entropy: SharedEntropy) -> Self {
        Self { entropy, ..self }
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// `Local` when there are none.
    pub fn random<const N: usize>(&self) -> Result<[u8; N]> {
        entropy::random(&*self.entropy)
    }

    /// The repository these keys are for.
    pub const fn repo(&self) -> RepoId {
        self.repo
    }

    /// The id of a blob with this plaintext. Costs one BLAKE3 pass.
    pub fn blob_id(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        let key = match kind {
            BlobKind::Data => &self.data_id,
            BlobKind::Tree => &self.tree_id,
        };
        BlobId::new(*blake3::keyed_hash(key.expose(), plaintext).as_bytes())
    }

    /// The content hash of a small file.
    pub fn content_hash(&self, content: &[u8]) -> ContentHash {
        ContentHash::new(first16(&blake3::keyed_hash(self.file_id.expose(), content)))
    }

    /// A hasher that gives the content hash of a file read piece by piece.
    pub fn content_hasher(&self) -> ContentHasher {
        ContentHasher(blake3::Hasher::new_keyed(self.file_id.expose()))
    }

    /// The id of the source `host` with `paths`, in any order.
    pub fn source_id(&self, host: &[u8], paths: &[Vec<u8>]) -> SourceId {
        let mut paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
        paths.sort_unstable();
        let mut hasher = blake3::Hasher::new_keyed(self.source_id.expose());
        hasher.update(host).update(&[0]);
        for path in paths {
            hasher.update(path).update(&[0]);
        }
        SourceId::new(first16(&hasher.finalize()))
    }

    /// The gear table of the chunker (`docs/format.md` section 8).
    pub fn gear_table(&self) -> Box<[u64; 256]> {
        let key = derive(&self.master, self.repo, "chunker", 0);
        let mut bytes = [0u8; 2048];
        blake3::Hasher::new_keyed(key.expose()).update(b"volvault v1 gear").finalize_xof().fill(&mut bytes);
        let mut table = Box::new([0u64; 256]);
        for (entry, chunk) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*chunk);
        }
        table
    }

    /// The key that decides where catalogue pages are cut.
    pub fn page_cut(&self) -> [u8; 32] {
        *derive(&self.master, self.repo, "page-cut", 0).expose()
    }

    pub(super) fn sealing(&self, kind: ObjectKind, epoch: u16) -> Key32 {
        derive(&self.master, self.repo, kind.purpose(), u32::from(epoch))
    }

    pub(super) fn fresh_salt(&self, context: &[u8]) -> Result<[u8; 32]> {
        entropy::hedged_salt(&*self.entropy, self.salt.expose(), context)
    }

    pub(super) const fn master(&self) -> &MasterKey {
        &self.master
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({})", self.repo.short())
    }
}

/// Computes a content hash from pieces.
#[derive(Debug)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> ContentHash {
        ContentHash::new(first16(&self.0.finalize()))
    }
}

fn first16(hash: &blake3::Hash) -> [u8; 16] {
    let [left, _] = hash.as_bytes().as_chunks::<16>().0 else { unreachable!("32 bytes are twice 16") };
    *left
}

fn derive(master: &MasterKey, repo: RepoId, purpose: &str, epoch: u32) -> Key32 {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("volvault v1 {purpose}"));
    hasher.update(master.0.expose()).update(repo.as_bytes()).update(&epoch.to_le_bytes());
    Key32::new(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(master: u8, repo: u8) -> KeyRing {
        KeyRing::new(MasterKey(Key32::new([master; 32])), RepoId::new([repo; 16]))
    }

    #[test]
    fn ids_depend_on_the_key_the_repository_and_the_kind() {
        let id = ring(1, 1).blob_id(BlobKind::Data, b"x");
        assert_eq!(id, ring(1, 1).blob_id(BlobKind::Data, b"x"));
        for other in [
            ring(2, 1).blob_id(BlobKind::Data, b"x"),
            ring(1, 2).blob_id(BlobKind::Data, b"x"),
            ring(1, 1).blob_id(BlobKind::Tree, b"x"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_source_is_the_same_whatever_the_order_of_its_paths() {
        let (a, b) = (b"/a".to_vec(), b"/b".to_vec());
        let ring = ring(1, 1);
        assert_eq!(ring.source_id(b"h", &[a.clone(), b.clone()]), ring.source_id(b"h", &[b.clone(), a.clone()]));
        assert_ne!(ring.source_id(b"h", std::slice::from_ref(&a)), ring.source_id(b"h", &[a, b]));
    }

    #[test]
    fn a_content_hash_is_the_same_in_pieces() {
        let ring = ring(3, 3);
        let mut hasher = ring.content_hasher();
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), ring.content_hash(b"abc"));
    }
}
