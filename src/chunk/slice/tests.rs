use super::*;
use crate::ids::DimensionId;
use postgres_types::Type;
use proptest::prelude::*;

const DAY: i64 = 86_400_000_000;
/// 2023-01-05, a Thursday as the epoch was.
const JAN_5: i64 = 19_362 * DAY;

fn slice(start: i64, end: i64) -> Slice {
    Slice { start, end }
}

fn time(interval: i64) -> Dimension {
    Dimension {
        id: DimensionId(1),
        column: "time".into(),
        type_oid: Type::TIMESTAMPTZ.oid(),
        kind: DimensionKind::Open { interval },
    }
}

fn space(partitions: u16) -> Dimension {
    Dimension {
        id: DimensionId(2),
        column: "location".into(),
        type_oid: Type::TEXT.oid(),
        kind: DimensionKind::Closed { partitions },
    }
}

fn bounds(ty: Type) -> RangeInclusive<i64> {
    coordinate_bounds("t", &ty).unwrap()
}

#[test]
fn week_slices_start_on_thursdays() {
    let bounds = bounds(Type::TIMESTAMPTZ);
    // 2023-01-01 lies in 2022-12-29 .. 2023-01-05.
    assert_eq!(open_slice(19_358 * DAY, 7 * DAY, &bounds), slice(JAN_5 - 7 * DAY, JAN_5));
    assert_eq!(open_slice(JAN_5, 7 * DAY, &bounds), slice(JAN_5, JAN_5 + 7 * DAY));
}

#[test]
fn negative_coordinates_round_down() {
    let bounds = bounds(Type::INT8);
    assert_eq!(open_slice(-1, 10, &bounds), slice(-10, 0));
    assert_eq!(open_slice(-10, 10, &bounds), slice(-10, 0));
    assert_eq!(open_slice(-11, 10, &bounds), slice(-20, -10));
    assert_eq!(open_slice(0, 10, &bounds), slice(0, 10));
}

#[test]
fn slices_at_the_ends_of_the_type_are_open() {
    let small = bounds(Type::INT2);
    assert_eq!(open_slice(-32768, 10_000, &small), slice(i64::MIN, -30_000));
    assert_eq!(open_slice(32767, 10_000, &small), slice(30_000, i64::MAX));
    let big = bounds(Type::INT8);
    assert!(open_slice(i64::MAX, i64::MAX, &big).contains(i64::MAX));
    assert_eq!(open_slice(i64::MIN, 1_000_000, &big).start, i64::MIN);
    assert_eq!(open_slice(i64::MIN, i64::MAX, &big), slice(i64::MIN, -i64::MAX));
}

#[test]
fn hash_slices_are_those_of_timescaledb() {
    assert_eq!(closed_starts(3), [i64::MIN, 715827882, 1431655764]);
    assert_eq!(closed_starts(4), [i64::MIN, 536870911, 1073741822, 1610612733]);
    assert_eq!(closed_starts(5), [i64::MIN, 429496729, 858993458, 1288490187, 1717986916]);
    assert_eq!(closed_slice(0, 3), slice(i64::MIN, 715827882));
    assert_eq!(closed_slice(715827882, 3), slice(715827882, 1431655764));
    assert_eq!(closed_slice(i64::from(i32::MAX), 3), slice(1431655764, i64::MAX));
    assert_eq!(closed_slice(77, 1), Slice::ALL);
}

#[test]
fn a_longer_interval_is_cut_on_the_side_of_the_point() {
    // Seen on TimescaleDB: chunk [01-05, 01-06), interval now 10 days, point 01-08 gives [01-06, 01-13).
    let existing = [Hypercube(vec![slice(JAN_5, JAN_5 + DAY)])];
    let cube = Hypercube::cut(&[time(10 * DAY)], existing.iter(), &[JAN_5 + 3 * DAY]).unwrap();
    assert_eq!(cube, Hypercube(vec![slice(JAN_5 + DAY, JAN_5 + 8 * DAY)]));
}

#[test]
fn a_point_inside_an_existing_time_slice_reuses_it() {
    let week = slice(JAN_5, JAN_5 + 7 * DAY);
    let existing = [Hypercube(vec![week, closed_slice(0, 3)])];
    let cube =
        Hypercube::cut(&[time(DAY), space(3)], existing.iter(), &[JAN_5 + 3 * DAY, i64::from(i32::MAX)]).unwrap();
    assert_eq!(cube, Hypercube(vec![week, slice(1431655764, i64::MAX)]));
}

#[test]
fn after_repartitioning_new_hash_slices_are_cut_around_old_chunks() {
    let week = slice(JAN_5, JAN_5 + 7 * DAY);
    let existing = [Hypercube(vec![week, closed_slice(0, 3)])];
    // The second of four ranges starts inside the first of three.
    let cube = Hypercube::cut(&[time(7 * DAY), space(4)], existing.iter(), &[JAN_5, 800_000_000]).unwrap();
    assert_eq!(cube, Hypercube(vec![week, slice(715827882, 1073741822)]));
    // Another week is free of old chunks.
    let cube = Hypercube::cut(&[time(7 * DAY), space(4)], existing.iter(), &[JAN_5 - 1, 800_000_000]).unwrap();
    assert_eq!(cube.0[1], slice(536870911, 1073741822));
}

#[test]
fn cubes_print_their_open_ends() {
    assert_eq!(Hypercube(vec![slice(0, 7), closed_slice(0, 3)]).to_string(), "[0, 7) x [-inf, 715827882)");
}

proptest! {
    #[test]
    fn an_open_slice_contains_its_point_and_is_no_longer_than_the_interval(at: i64, interval in 1..i64::MAX) {
        let slice = open_slice(at, interval, &(i64::MIN..=i64::MAX));
        prop_assert!(slice.contains(at));
        prop_assert!(i128::from(slice.end) - i128::from(slice.start) <= i128::from(interval));
    }

    #[test]
    fn hash_slices_tile_the_hashes(hash in 0..=i64::from(i32::MAX), partitions in 1..=32767u16) {
        let slice = closed_slice(hash, partitions);
        prop_assert!(slice.contains(hash));
        let starts = closed_starts(partitions);
        let nth = starts.binary_search(&slice.start).unwrap();
        prop_assert_eq!(slice.end, starts.get(nth + 1).copied().unwrap_or(i64::MAX));
    }

    /// Whatever intervals and partition counts come and go: cubes hold their point, never overlap, and the time
    /// slices stay equal or disjoint.
    #[test]
    fn cubes_never_overlap(
        points in proptest::collection::vec((-40i64..40, 0..=i64::from(i32::MAX), 0..=i64::from(i32::MAX), 1i64..12, 1u16..6, 1u16..4), 1..40),
    ) {
        let mut cubes: Vec<Hypercube> = Vec::new();
        for (at, first, second, interval, partitions, more) in points {
            let dimensions = [time(interval), space(partitions), space(more)];
            let point = [at, first, second];
            if cubes.iter().any(|cube| cube.contains(&point)) {
                continue;
            }
            let cube = Hypercube::cut(&dimensions, cubes.iter(), &point).unwrap();
            prop_assert!(cube.contains(&point), "{cube} misses {point:?}");
            for other in &cubes {
                prop_assert!(!cube.overlaps(other), "{cube} overlaps {other}");
                prop_assert!(cube.0[0] == other.0[0] || !cube.0[0].overlaps(&other.0[0]));
            }
            cubes.push(cube);
        }
    }
}
