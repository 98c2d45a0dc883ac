//! Which chunks a query can find rows in.
//!
//! The planner reads its filters into one set of coordinates per dimension; a chunk is needed only if its slice meets
//! the set in every dimension. Sets may be larger than the truth (then a chunk is read for nothing), never smaller.

use super::coordinate::coordinates;
use super::dimension::Dimension;
use super::slice::{Hypercube, Slice};
use crate::error::Result;
use arrow::array::ArrayRef;
use std::collections::BTreeSet;
use std::fmt;

/// A set of coordinates of one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coordinates {
    Range(Slice),
    Points(BTreeSet<i64>),
}

impl Coordinates {
    /// No filter on this dimension.
    pub const ALL: Coordinates = Coordinates::Range(Slice::ALL);

    /// No row can match.
    pub const fn none() -> Coordinates {
        Coordinates::Points(BTreeSet::new())
    }

    /// `column < value` (for `<=` pass the following coordinate, or [`Coordinates::up_to`]).
    pub fn before(coordinate: i64) -> Coordinates {
        match coordinate {
            // As an end, i64::MIN would still admit nothing, but i64::MAX means "no end" and admits itself.
            i64::MIN => Coordinates::none(),
            end => Coordinates::Range(Slice { start: i64::MIN, end }),
        }
    }

    /// `column <= value`.
    pub fn up_to(coordinate: i64) -> Coordinates {
        Coordinates::Range(Slice { start: i64::MIN, end: coordinate.saturating_add(1) })
    }

    /// `column >= value`.
    pub fn from(coordinate: i64) -> Coordinates {
        Coordinates::Range(Slice { start: coordinate, end: i64::MAX })
    }

    /// `column > value`.
    pub fn after(coordinate: i64) -> Coordinates {
        match coordinate.checked_add(1) {
            Some(start) => Coordinates::from(start),
            None => Coordinates::none(),
        }
    }

    /// `column = value` or `column IN (values)`: the coordinates of the non-NULL values (no row equals NULL).
    /// `values` are of the column's type. Errors: those of [`coordinates`].
    pub fn equal_to(values: &ArrayRef, dimension: &Dimension) -> Result<Coordinates> {
        let values = arrow::compute::filter(values, &arrow::compute::is_not_null(values)?)?;
        Ok(Coordinates::Points(coordinates(&values, dimension)?.into_iter().collect()))
    }

    /// Coordinates that are in both: AND.
    #[must_use]
    pub fn and(self, other: Coordinates) -> Coordinates {
        match (self, other) {
            (Coordinates::Points(mut points), other) | (other, Coordinates::Points(mut points)) => {
                points.retain(|point| other.has(*point));
                Coordinates::Points(points)
            }
            (Coordinates::Range(one), Coordinates::Range(two)) => {
                let both = Slice { start: one.start.max(two.start), end: one.end.min(two.end) };
                if both.start < both.end || both.contains(both.start) {
                    Coordinates::Range(both)
                } else {
                    Coordinates::none()
                }
            }
        }
    }

    /// At least the coordinates that are in either: OR. Ranges grow over the gap between them.
    #[must_use]
    pub fn or(self, other: Coordinates) -> Coordinates {
        match (self, other) {
            (Coordinates::Points(mut points), Coordinates::Points(more)) => {
                points.extend(more);
                Coordinates::Points(points)
            }
            (one, two) => match (one.hull(), two.hull()) {
                (Some(one), Some(two)) => {
                    Coordinates::Range(Slice { start: one.start.min(two.start), end: one.end.max(two.end) })
                }
                (Some(hull), None) | (None, Some(hull)) => Coordinates::Range(hull),
                (None, None) => Coordinates::none(),
            },
        }
    }

    pub fn is_none(&self) -> bool {
        self.hull().is_none()
    }

    /// Whether a slice holds any of them.
    pub fn meets(&self, slice: &Slice) -> bool {
        match self {
            Coordinates::Range(range) => range.overlaps(slice) || slice.contains(range.start),
            Coordinates::Points(points) => {
                points.range(slice.start..).next().is_some_and(|point| slice.contains(*point))
            }
        }
    }

    fn has(&self, coordinate: i64) -> bool {
        match self {
            Coordinates::Range(range) => range.contains(coordinate),
            Coordinates::Points(points) => points.contains(&coordinate),
        }
    }

    /// The smallest range with all of them; `None` if there are none.
    fn hull(&self) -> Option<Slice> {
        match self {
            Coordinates::Range(range) => Some(*range),
            Coordinates::Points(points) => {
                let (start, last) = (*points.first()?, *points.last()?);
                Some(Slice { start, end: last.saturating_add(1) })
            }
        }
    }
}

/// `[0, 10)`, `{3, 5}`.
impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Coordinates::Range(range) => range.fmt(f),
            Coordinates::Points(points) => {
                let points: Vec<String> = points.iter().map(i64::to_string).collect();
                write!(f, "{{{}}}", points.join(", "))
            }
        }
    }
}

/// Whether a chunk with this cube can hold rows that meet all `constraints` (one per dimension, in their order).
pub fn can_match(cube: &Hypercube, constraints: &[Coordinates]) -> bool {
    cube.0.iter().zip(constraints).all(|(slice, constraint)| constraint.meets(slice))
}

/// The chunks that can hold matching rows, in the order given. `key` is whatever tells a chunk.
pub fn matching<'a, K>(chunks: impl IntoIterator<Item = (K, &'a Hypercube)>, constraints: &[Coordinates]) -> Vec<K> {
    chunks.into_iter().filter(|(_, cube)| can_match(cube, constraints)).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::dimension::DimensionKind;
    use crate::chunk::slice::closed_slice;
    use crate::ids::DimensionId;
    use arrow::array::StringArray;
    use postgres_types::Type;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn cube(start: i64, end: i64, hash: i64) -> Hypercube {
        Hypercube(vec![Slice { start, end }, closed_slice(hash, 3)])
    }

    fn points(list: &[i64]) -> Coordinates {
        Coordinates::Points(list.iter().copied().collect())
    }

    #[test]
    fn a_time_range_leaves_out_the_chunks_beside_it() {
        let cubes = [cube(0, 10, 0), cube(10, 20, 0), cube(20, 30, 0)];
        let chunks = || cubes.iter().enumerate();
        let at_least = |from| matching(chunks(), &[Coordinates::from(from), Coordinates::ALL]);
        assert_eq!(at_least(10), [1, 2]);
        assert_eq!(at_least(9), [0, 1, 2]);
        let below = |until| matching(chunks(), &[until, Coordinates::ALL]);
        assert_eq!(below(Coordinates::before(10)), [0]);
        assert_eq!(below(Coordinates::up_to(10)), [0, 1]);
        assert_eq!(below(Coordinates::from(12).and(Coordinates::before(15))), [1]);
        assert_eq!(below(Coordinates::after(28)), [2]);
        assert_eq!(below(Coordinates::from(15).and(Coordinates::before(15))), [0; 0]);
    }

    #[test]
    fn equality_on_the_space_column_leaves_one_hash_slice() {
        let space = Dimension {
            id: DimensionId(2),
            column: "location".into(),
            type_oid: Type::TEXT.oid(),
            kind: DimensionKind::Closed { partitions: 3 },
        };
        let of = |values: Vec<Option<&str>>| {
            let values: ArrayRef = Arc::new(StringArray::from(values));
            Coordinates::equal_to(&values, &space).unwrap()
        };
        let cubes = [cube(0, 10, 0), cube(0, 10, 715827882), cube(0, 10, 1431655764)];
        let matches = |wanted| matching(cubes.iter().enumerate(), &[Coordinates::ALL, wanted]);
        // 'a' hashes to 1075015857, 'garage' to 926285651, '' to 669664877.
        assert_eq!(matches(of(vec![Some("a")])), [1]);
        assert_eq!(matches(of(vec![Some("a"), Some("garage"), None])), [1]);
        assert_eq!(matches(of(vec![Some("a"), Some("")])), [0, 1]);
        assert_eq!(matches(of(vec![None])), [0; 0]);
    }

    #[test]
    fn the_outermost_coordinates_are_not_lost() {
        let last = Slice { start: 10, end: i64::MAX };
        assert!(points(&[i64::MAX]).meets(&last));
        assert!(Coordinates::from(i64::MAX).meets(&last));
        assert!(Coordinates::up_to(i64::MAX).meets(&last));
        assert!(Coordinates::after(i64::MAX).is_none());
        assert!(Coordinates::before(i64::MIN).is_none());
        assert!(Coordinates::up_to(i64::MIN).meets(&Slice { start: i64::MIN, end: 0 }));
        assert!(!Coordinates::from(i64::MAX).and(Coordinates::up_to(i64::MAX)).is_none());
    }

    fn coordinates_strategy() -> impl Strategy<Value = Coordinates> {
        prop_oneof![
            (-10i64..10).prop_map(Coordinates::before),
            (-10i64..10).prop_map(Coordinates::up_to),
            (-10i64..10).prop_map(Coordinates::from),
            (-10i64..10).prop_map(Coordinates::after),
            proptest::collection::btree_set(-10i64..10, 0..4).prop_map(Coordinates::Points),
            Just(Coordinates::ALL),
        ]
    }

    proptest! {
        #[test]
        fn and_is_exact_and_or_never_loses_a_coordinate(
            one in coordinates_strategy(), two in coordinates_strategy(), at in -12i64..12,
        ) {
            prop_assert_eq!(one.clone().and(two.clone()).has(at), one.has(at) && two.has(at));
            prop_assert!(!(one.has(at) || two.has(at)) || one.clone().or(two.clone()).has(at));
        }

        #[test]
        fn a_slice_is_met_exactly_if_it_holds_a_coordinate(set in coordinates_strategy(), start in -12i64..12, length in 1i64..5) {
            let slice = Slice { start, end: start + length };
            prop_assert_eq!(set.meets(&slice), (start..start + length).any(|at| set.has(at)));
        }
    }
}
