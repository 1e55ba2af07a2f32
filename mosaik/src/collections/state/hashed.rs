//! A persistent table by hash: a trie over the hashes of its keys, whose leaves hold up to 32 entries.
//!
//! A copy shares all nodes with its original, and what is written then has to be copied first, as far as it is shared.
//! Where nothing is shared, all is done in place.
//!
//! The first bits of a hash lead to a leaf, three at each branch. Its last byte, the *tag*, stands in the leaf beside
//! those of the others there: the keys whose tags are equal are compared, which as a rule is one. A leaf has room for 8,
//! 16 or 32 entries, as many as it needs, and becomes a branch beyond. More keys than that which not even 54 bits tell
//! apart stand in a list, sorted.
//!
//! After P. Bagwell, *Ideal Hash Trees* (2001), with large leaves in place of small branches; tags after the tables of
//! Abseil, *Swiss Tables Design Notes* (2018).

use std::{
    array, fmt,
    hash::{BuildHasher, Hash},
    hint, mem, slice,
    sync::Arc,
};

use foldhash::fast::FixedState;

/// Hashes with one seed everywhere, no number in particular. Peers trust each other, and nothing depends on the order
/// that results: the seed is fixed so that replicas do the same work.
const HASHING: FixedState = FixedState::with_seed(0x6d6f_7361_696b);

/// Bits of a hash that tell the children of a branch apart.
const BITS: u32 = 3;
/// Children of a branch.
const CHILDREN: usize = 1 << BITS;
/// Branches on the way to a leaf at most. Their bits are none of the tag's.
const DEPTH: u32 = 18;
/// Entries of a branch at which it becomes a leaf again.
const FEW: usize = 16;

/// Keys that are [read ahead](Hashed::read_ahead) at once: about what a core fetches side by side.
pub(crate) const AHEAD: usize = 16;

/// A table by hash. A clone takes constant time; looking a key up, inserting and removing one do as well, but for three
/// bits of hash a branch.
pub struct Hashed<K, T> {
    root: Node<K, T>,
    len: usize,
}

#[derive(Default)]
enum Node<K, T> {
    #[default]
    Empty,
    Small(Arc<Leaf<K, T, 8>>),
    Middle(Arc<Leaf<K, T, 16>>),
    Large(Arc<Leaf<K, T, 32>>),
    Branch(Arc<Branch<K, T>>),
    /// Entries of equal hashes, as far as that can be seen; ascending.
    Crowd(Arc<Vec<(K, T)>>),
}

struct Branch<K, T> {
    /// Entries in all children.
    len: usize,
    children: [Node<K, T>; CHILDREN],
}

/// Up to `N` entries, in no order.
struct Leaf<K, T, const N: usize> {
    tags: [u8; N],
    len: usize,
    entries: [Option<(K, T)>; N],
}

/// A hash, of which some branches have used their bits up.
#[derive(Clone, Copy)]
struct Path {
    hash: u64,
    depth: u32,
}

impl Path {
    fn to<K: Hash>(key: &K) -> Self {
        Self::from(0, key)
    }

    /// The way to it from a branch at a depth.
    fn from<K: Hash>(depth: u32, key: &K) -> Self {
        let hash = HASHING.hash_one(key);
        Self { hash, depth }
    }

    /// The child that it leads to, and the way from there.
    fn step(self) -> (usize, Self) {
        let shift = u64::BITS - BITS * (self.depth + 1);
        let child = (self.hash >> shift) as usize % CHILDREN;
        let depth = self.depth + 1;
        (child, Self { depth, ..self })
    }

    fn tag(self) -> u8 {
        self.hash as u8
    }
}

impl<K: Hash + Ord, T> Hashed<K, T> {
    /// What stands at a key.
    pub(crate) fn get(&self, key: &K) -> Option<&T> {
        self.look(Path::to(key), key)
    }

    fn look(&self, mut path: Path, key: &K) -> Option<&T> {
        let mut node = &self.root;
        loop {
            return match node {
                Node::Branch(branch) => {
                    let (child, next) = path.step();
                    (node, path) = (&branch.children[child], next);
                    continue;
                }
                Node::Small(leaf) => leaf.get(path, key),
                Node::Middle(leaf) => leaf.get(path, key),
                Node::Large(leaf) => leaf.get(path, key),
                Node::Crowd(crowd) => {
                    let index = crowd.binary_search_by(|(there, _)| there.cmp(key)).ok()?;
                    Some(&crowd[index].1)
                }
                Node::Empty => None,
            };
        }
    }

    /// Whether something stands at a key.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }
}

impl<K: Hash, T> Hashed<K, T> {
    /// Reads what lies on the way to keys that are about to be written, up to [`AHEAD`] of them, side by side: what no
    /// cache holds is waited for once a branch, and not for each. Changes nothing.
    ///
    /// After S. Chen et al., *Improving Hash Join Performance through Prefetching* (2004).
    pub(crate) fn read_ahead(&self, keys: &[K]) {
        let mut ways = [(&self.root, Path { hash: 0, depth: 0 }); AHEAD];
        let count = keys.len().min(AHEAD);
        let ways = &mut ways[..count];
        for ((_, path), key) in ways.iter_mut().zip(keys) {
            *path = Path::to(key);
        }
        let mut deeper = true;
        while mem::take(&mut deeper) {
            for (node, path) in &mut *ways {
                if let Node::Branch(branch) = node {
                    let (child, next) = path.step();
                    (*node, *path) = (&branch.children[child], next);
                    deeper = true;
                }
            }
        }
        let read = ways.iter().map(|(node, path)| node.read(*path)).sum();
        hint::black_box::<usize>(read);
    }
}

impl<K, T> Hashed<K, T> {
    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> Iter<'_, K, T> {
        Iter {
            branches: vec![slice::from_ref(&self.root).iter()],
            leaf: [].iter(),
            crowd: [].iter(),
            left: self.len,
        }
    }
}

impl<K: Hash + Ord + Clone, T: Clone> Hashed<K, T> {
    /// Puts `item` at a key, and the key in the place of one that is equal; returns what stood there.
    pub(crate) fn insert(&mut self, key: K, item: T) -> Option<T> {
        let old = self.root.insert(Path::to(&key), key, item);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes what stands at a key, and returns it.
    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        let path = Path::to(key);
        // Nothing is copied for a key that is not there.
        self.look(path, key)?;
        let removed = self.root.remove(path, key);
        self.len -= usize::from(removed.is_some());
        removed
    }
}

impl<K, T> Node<K, T> {
    /// Reads where a write on this way reads, and returns something of it, which is of no use.
    fn read(&self, path: Path) -> usize {
        match self {
            Self::Small(leaf) => Arc::strong_count(leaf) + leaf.read(path),
            Self::Middle(leaf) => Arc::strong_count(leaf) + leaf.read(path),
            Self::Large(leaf) => Arc::strong_count(leaf) + leaf.read(path),
            Self::Branch(branch) => branch.len,
            Self::Crowd(crowd) => crowd.len(),
            Self::Empty => 0,
        }
    }
}

impl<K: Hash + Ord + Clone, T: Clone> Node<K, T> {
    fn insert(&mut self, path: Path, key: K, item: T) -> Option<T> {
        let unplaced = match self {
            Self::Small(leaf) => Arc::make_mut(leaf).insert(path, key, item),
            Self::Middle(leaf) => Arc::make_mut(leaf).insert(path, key, item),
            Self::Large(leaf) => Arc::make_mut(leaf).insert(path, key, item),
            Self::Branch(branch) => return Arc::make_mut(branch).insert(path, key, item),
            Self::Crowd(crowd) => {
                let crowd = Arc::make_mut(crowd);
                match crowd.binary_search_by(|(there, _)| there.cmp(&key)) {
                    Ok(index) => return Some(mem::replace(&mut crowd[index], (key, item)).1),
                    Err(index) => crowd.insert(index, (key, item)),
                }
                return None;
            }
            Self::Empty => Err((key, item)),
        };
        match unplaced {
            Ok(old) => old,
            Err((key, item)) => {
                *self = mem::take(self).grown(path.depth);
                self.insert(path, key, item)
            }
        }
    }

    /// The same with room for more.
    fn grown(self, depth: u32) -> Self {
        match self {
            Self::Empty => Self::Small(Arc::default()),
            Self::Small(leaf) => Self::Middle(Arc::new(leaf.moved())),
            Self::Middle(leaf) => Self::Large(Arc::new(leaf.moved())),
            Self::Large(leaf) if depth < DEPTH => {
                let mut branch = Branch::default();
                for (key, item) in Arc::unwrap_or_clone(leaf).into_entries() {
                    branch.insert(Path::from(depth, &key), key, item);
                }
                Self::Branch(Arc::new(branch))
            }
            Self::Large(leaf) => {
                let mut crowd: Vec<_> = Arc::unwrap_or_clone(leaf).into_entries().collect();
                crowd.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                Self::Crowd(Arc::new(crowd))
            }
            Self::Branch(_) | Self::Crowd(_) => self,
        }
    }

    fn remove(&mut self, path: Path, key: &K) -> Option<T> {
        let removed = match self {
            Self::Small(leaf) => Arc::make_mut(leaf).remove(path, key),
            Self::Middle(leaf) => Arc::make_mut(leaf).remove(path, key),
            Self::Large(leaf) => Arc::make_mut(leaf).remove(path, key),
            Self::Branch(branch) => Arc::make_mut(branch).remove(path, key),
            Self::Crowd(crowd) => {
                let crowd = Arc::make_mut(crowd);
                let index = crowd.binary_search_by(|(there, _)| there.cmp(key)).ok()?;
                Some(crowd.remove(index).1)
            }
            Self::Empty => None,
        };
        if self.is_too_large() {
            *self = mem::take(self).shrunk();
        }
        removed
    }

    /// Whether it has become a waste of memory.
    fn is_too_large(&self) -> bool {
        match self {
            Self::Empty => false,
            Self::Small(leaf) => leaf.len == 0,
            Self::Middle(leaf) => leaf.len <= 4,
            Self::Large(leaf) => leaf.len <= 8,
            Self::Branch(branch) => branch.len <= FEW,
            Self::Crowd(crowd) => crowd.is_empty(),
        }
    }

    /// The same with less room, for one that is too large.
    fn shrunk(self) -> Self {
        match self {
            Self::Middle(leaf) => Self::Small(Arc::new(leaf.moved())),
            Self::Large(leaf) => Self::Middle(Arc::new(leaf.moved())),
            Self::Branch(_) => {
                let mut leaf = Leaf::<_, _, FEW>::default();
                self.drain(&mut |key, item| leaf.push(Path::to(&key).tag(), (key, item)));
                Self::Middle(Arc::new(leaf))
            }
            Self::Empty | Self::Small(_) | Self::Crowd(_) => Self::Empty,
        }
    }

    /// Gives all entries away.
    fn drain(self, to: &mut impl FnMut(K, T)) {
        match self {
            Self::Empty => {}
            Self::Small(leaf) => Arc::unwrap_or_clone(leaf).drain(to),
            Self::Middle(leaf) => Arc::unwrap_or_clone(leaf).drain(to),
            Self::Large(leaf) => Arc::unwrap_or_clone(leaf).drain(to),
            Self::Branch(branch) => {
                for child in Arc::unwrap_or_clone(branch).children {
                    child.drain(to);
                }
            }
            Self::Crowd(crowd) => {
                for (key, item) in Arc::unwrap_or_clone(crowd) {
                    to(key, item);
                }
            }
        }
    }
}

impl<K: Hash + Ord + Clone, T: Clone> Branch<K, T> {
    fn insert(&mut self, path: Path, key: K, item: T) -> Option<T> {
        let (child, path) = path.step();
        let old = self.children[child].insert(path, key, item);
        self.len += usize::from(old.is_none());
        old
    }

    fn remove(&mut self, path: Path, key: &K) -> Option<T> {
        let (child, path) = path.step();
        let removed = self.children[child].remove(path, key);
        self.len -= usize::from(removed.is_some());
        removed
    }
}

impl<K: Hash + Ord, T, const N: usize> Leaf<K, T, N> {
    fn find(&self, path: Path, key: &K) -> Option<usize> {
        let mut candidates = equal(&self.tags, path.tag());
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize;
            // What stands behind the entries is none, whatever the tag there.
            if let Some(Some((there, _))) = self.entries.get(index)
                && there == key
            {
                return Some(index);
            }
            candidates &= candidates - 1;
        }
        None
    }

    fn get(&self, path: Path, key: &K) -> Option<&T> {
        let entry = self.entries[self.find(path, key)?].as_ref();
        entry.map(|(_, item)| item)
    }

    /// Puts `item` at a key, and returns what stood there; gives both back if there is no room.
    fn insert(&mut self, path: Path, key: K, item: T) -> Result<Option<T>, (K, T)> {
        if let Some(index) = self.find(path, &key) {
            let old = self.entries[index].replace((key, item));
            return Ok(old.map(|(_, old)| old));
        }
        if self.len == N {
            return Err((key, item));
        }
        self.push(path.tag(), (key, item));
        Ok(None)
    }

    fn remove(&mut self, path: Path, key: &K) -> Option<T> {
        let index = self.find(path, key)?;
        self.len -= 1;
        self.entries.swap(index, self.len);
        self.tags[index] = self.tags[self.len];
        let removed = self.entries[self.len].take();
        removed.map(|(_, item)| item)
    }
}

impl<K, T, const N: usize> Leaf<K, T, N> {
    /// Reads the entry of this tag, or the place of the next.
    fn read(&self, path: Path) -> usize {
        let candidates = equal(&self.tags, path.tag());
        let index = self.len.min(candidates.trailing_zeros() as usize);
        self.entries
            .get(index)
            .map_or(N, |entry| usize::from(entry.is_some()))
    }

    /// Adds an entry; there is room.
    fn push(&mut self, tag: u8, entry: (K, T)) {
        self.tags[self.len] = tag;
        self.entries[self.len] = Some(entry);
        self.len += 1;
    }

    fn into_entries(self) -> impl Iterator<Item = (K, T)> {
        self.entries.into_iter().flatten()
    }

    fn drain(self, to: &mut impl FnMut(K, T)) {
        for (key, item) in self.into_entries() {
            to(key, item);
        }
    }
}

impl<K: Clone, T: Clone, const N: usize> Leaf<K, T, N> {
    /// The same entries in a leaf with room for them.
    fn moved<const M: usize>(self: Arc<Self>) -> Leaf<K, T, M> {
        let mut moved = Leaf::default();
        let leaf = Arc::unwrap_or_clone(self);
        for (tag, entry) in leaf.tags.into_iter().zip(leaf.entries) {
            if let Some(entry) = entry {
                moved.push(tag, entry);
            }
        }
        moved
    }
}

/// Which of some bytes are equal to one: a bit for each, the lowest for the first.
///
/// Eight at once, without a branch. After H. Warren, *Hacker's Delight* (2012), section 6-1.
fn equal<const N: usize>(bytes: &[u8; N], byte: u8) -> u32 {
    const LOW: u64 = u64::MAX / 0xff;
    const REST: u64 = LOW * 0x7f;
    // Brings the highest bits of eight bytes together in the highest byte.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let sought = LOW * u64::from(byte);
    let (chunks, _) = bytes.as_chunks();
    let mut equal = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        let differing = u64::from_le_bytes(*chunk) ^ sought;
        let zero = !(((differing & REST) + REST) | differing | REST);
        let bits = (zero.wrapping_mul(GATHER) >> 56) as u32;
        equal |= bits << (8 * index);
    }
    equal
}

/// All entries of a table.
pub(crate) struct Iter<'a, K, T> {
    /// What is still to come of the branches on the way to the leaf.
    branches: Vec<slice::Iter<'a, Node<K, T>>>,
    leaf: slice::Iter<'a, Option<(K, T)>>,
    crowd: slice::Iter<'a, (K, T)>,
    left: usize,
}

impl<'a, K, T> Iterator for Iter<'a, K, T> {
    type Item = (&'a K, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.leaf.next() {
                Some(next) => next.as_ref(),
                None => self.crowd.next(),
            };
            if let Some((key, item)) = next {
                self.left -= 1;
                return Some((key, item));
            }
            match self.branches.last_mut()?.next() {
                Some(Node::Branch(branch)) => self.branches.push(branch.children.iter()),
                Some(Node::Small(leaf)) => self.leaf = leaf.entries[..leaf.len].iter(),
                Some(Node::Middle(leaf)) => self.leaf = leaf.entries[..leaf.len].iter(),
                Some(Node::Large(leaf)) => self.leaf = leaf.entries[..leaf.len].iter(),
                Some(Node::Crowd(crowd)) => self.crowd = crowd.iter(),
                Some(Node::Empty) => {}
                None => drop(self.branches.pop()),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, T> ExactSizeIterator for Iter<'_, K, T> {}

impl<K, T> Default for Hashed<K, T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }
}

impl<K, T> Clone for Hashed<K, T> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<K: fmt::Debug, T: fmt::Debug> fmt::Debug for Hashed<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, T> Clone for Node<K, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Small(leaf) => Self::Small(leaf.clone()),
            Self::Middle(leaf) => Self::Middle(leaf.clone()),
            Self::Large(leaf) => Self::Large(leaf.clone()),
            Self::Branch(branch) => Self::Branch(branch.clone()),
            Self::Crowd(crowd) => Self::Crowd(crowd.clone()),
        }
    }
}

impl<K, T> Default for Branch<K, T> {
    fn default() -> Self {
        Self {
            len: 0,
            children: array::from_fn(|_| Node::default()),
        }
    }
}

impl<K, T> Clone for Branch<K, T> {
    fn clone(&self) -> Self {
        Self {
            len: self.len,
            children: self.children.clone(),
        }
    }
}

impl<K, T, const N: usize> Default for Leaf<K, T, N> {
    fn default() -> Self {
        Self {
            tags: [0; N],
            len: 0,
            entries: array::from_fn(|_| None),
        }
    }
}

impl<K: Clone, T: Clone, const N: usize> Clone for Leaf<K, T, N> {
    fn clone(&self) -> Self {
        Self {
            tags: self.tags,
            len: self.len,
            entries: self.entries.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
