//! The merge-join of two sorted streams: what backup, restore, mirror and diff all are.

use std::cmp::Ordering;

use super::entry::Entry;
use crate::error::{Error, Result};
use crate::path::{TreePath, compare};

/// Something that stands at a path of a tree.
pub trait Pathed {
    /// Its path.
    fn path(&self) -> &TreePath;
}

impl Pathed for Entry {
    fn path(&self) -> &TreePath {
        &self.path
    }
}

/// What stands at one path in the two streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined<L, R> {
    /// Only on the left.
    Left(L),
    /// Only on the right.
    Right(R),
    /// On both sides.
    Both(L, R),
}

impl<L, R> Joined<L, R> {
    /// The left item, if there is one.
    pub fn left(&self) -> Option<&L> {
        match self {
            Self::Left(left) | Self::Both(left, _) => Some(left),
            Self::Right(_) => None,
        }
    }

    /// The right item, if there is one.
    pub fn right(&self) -> Option<&R> {
        match self {
            Self::Right(right) | Self::Both(_, right) => Some(right),
            Self::Left(_) => None,
        }
    }
}

impl<L: Pathed, R: Pathed> Joined<L, R> {
    /// The path at which they stand.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Left(left) | Self::Both(left, _) => left.path(),
            Self::Right(right) => right.path(),
        }
    }
}

/// Joins two streams that are in catalogue order. Takes at most one item of each side ahead, and ends after the first
/// error: one of a side, or a `Bug` when a side is out of order.
pub fn merge_join<L, R, A, B>(left: A, right: B) -> MergeJoin<L, R, A::IntoIter, B::IntoIter>
where
    L: Pathed,
    R: Pathed,
    A: IntoIterator<Item = Result<L>>,
    B: IntoIterator<Item = Result<R>>,
{
    MergeJoin { left: Side::new(left.into_iter()), right: Side::new(right.into_iter()), last: None }
}

/// The iterator of [`merge_join`].
pub struct MergeJoin<L, R, A, B> {
    left: Side<L, A>,
    right: Side<R, B>,
    /// Path of the item before. One buffer for all of them.
    last: Option<Vec<u8>>,
}

struct Side<T, I> {
    /// `None` once the side has ended: it is not asked again.
    items: Option<I>,
    next: Option<T>,
}

impl<T: Pathed, I: Iterator<Item = Result<T>>> Side<T, I> {
    fn new(items: I) -> Self {
        Self { items: Some(items), next: None }
    }

    fn fill(&mut self) -> Result<()> {
        if self.next.is_none()
            && let Some(items) = &mut self.items
        {
            self.next = items.next().transpose()?;
            if self.next.is_none() {
                self.items = None;
            }
        }
        Ok(())
    }
}

impl<L, R, A, B> MergeJoin<L, R, A, B>
where
    L: Pathed,
    R: Pathed,
    A: Iterator<Item = Result<L>>,
    B: Iterator<Item = Result<R>>,
{
    fn try_next(&mut self) -> Result<Option<Joined<L, R>>> {
        self.left.fill()?;
        self.right.fill()?;
        let order = match (&self.left.next, &self.right.next) {
            (Some(left), Some(right)) => left.path().cmp(right.path()),
            // An ended side comes after everything.
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        let left = self.left.next.take_if(|_| order.is_le());
        let right = self.right.next.take_if(|_| order.is_ge());
        let joined = match (left, right) {
            (Some(left), Some(right)) => Joined::Both(left, right),
            (Some(left), None) => Joined::Left(left),
            (None, Some(right)) => Joined::Right(right),
            (None, None) => return Ok(None),
        };
        self.check_order(joined.path())?;
        Ok(Some(joined))
    }

    /// Whatever is behind its side's order is the smaller of the two and comes out here.
    fn check_order(&mut self, path: &TreePath) -> Result<()> {
        if self.last.as_deref().is_some_and(|last| compare(last, path.as_bytes()) != Ordering::Less) {
            return Err(Error::bug(format!("{path} is not in catalogue order")));
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(path.as_bytes());
        Ok(())
    }
}

impl<L, R, A, B> Iterator for MergeJoin<L, R, A, B>
where
    L: Pathed,
    R: Pathed,
    A: Iterator<Item = Result<L>>,
    B: Iterator<Item = Result<R>>,
{
    type Item = Result<Joined<L, R>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if !matches!(next, Ok(Some(_))) {
            (self.left.items, self.left.next) = (None, None);
            (self.right.items, self.right.next) = (None, None);
        }
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Item(TreePath, u8);

    impl Pathed for Item {
        fn path(&self) -> &TreePath {
            &self.0
        }
    }

    fn item(path: &str, side: u8) -> Result<Item> {
        Ok(Item(TreePath::parse(path)?, side))
    }

    fn stream(paths: &BTreeSet<TreePath>, side: u8) -> Vec<Result<Item>> {
        paths.iter().map(|path| Ok(Item(path.clone(), side))).collect()
    }

    #[test]
    fn an_error_or_disorder_of_one_side_ends_the_join() {
        let broken = vec![item("a", 0), Err(Error::corrupt("page")), item("b", 0)];
        let joined: Vec<_> = merge_join(broken, vec![item("a", 1), item("c", 1)]).collect();
        assert!(matches!(joined.as_slice(), [Ok(Joined::Both(..)), Err(_)]));
        for wrong in [["b", "a"], ["a", "a"]] {
            let left = wrong.map(|path| item(path, 0));
            let joined: Result<Vec<_>> = merge_join(left, vec![item("c", 1)]).collect();
            assert_eq!(joined.expect_err("out of order").kind(), crate::error::ErrorKind::Bug);
        }
    }

    proptest! {
        #[test]
        fn the_join_is_that_of_two_maps(
            left in prop::collection::btree_set("[a-c./]{0,5}", 0..40),
            right in prop::collection::btree_set("[a-c./]{0,5}", 0..40),
        ) {
            let parse = |set: BTreeSet<String>| -> BTreeSet<TreePath> {
                set.into_iter().filter_map(|text| TreePath::parse(text).ok()).collect()
            };
            let (left, right) = (parse(left), parse(right));
            let mut oracle: BTreeMap<TreePath, (bool, bool)> = BTreeMap::new();
            for path in &left {
                oracle.entry(path.clone()).or_default().0 = true;
            }
            for path in &right {
                oracle.entry(path.clone()).or_default().1 = true;
            }
            let joined: Result<Vec<_>> = merge_join(stream(&left, 0), stream(&right, 1)).collect();
            let joined: Vec<_> = joined
                .expect("sorted")
                .into_iter()
                .map(|joined| (joined.path().clone(), (joined.left().is_some(), joined.right().is_some())))
                .collect();
            prop_assert_eq!(joined, oracle.into_iter().collect::<Vec<_>>());
        }
    }
}
