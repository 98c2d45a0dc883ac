use super::*;
use crate::chunk::dimension::DimensionKind;
use crate::chunk::slice::closed_slice;
use crate::error::codes;
use crate::ids::DimensionId;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use postgres_types::Type;
use proptest::prelude::*;
use std::sync::Arc;

fn dimensions(interval: i64, partitions: u16) -> Vec<Dimension> {
    vec![
        Dimension {
            id: DimensionId(1),
            column: "time".into(),
            type_oid: Type::INT8.oid(),
            kind: DimensionKind::Open { interval },
        },
        Dimension {
            id: DimensionId(2),
            column: "location".into(),
            type_oid: Type::TEXT.oid(),
            kind: DimensionKind::Closed { partitions },
        },
    ]
}

fn batch(rows: &[(i64, &str)]) -> RecordBatch {
    let times: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let places: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
    RecordBatch::try_from_iter([("location", places), ("time", times)]).unwrap()
}

fn cube(start: i64, end: i64, hash: i64) -> Hypercube {
    Hypercube(vec![Slice { start, end }, closed_slice(hash, 3)])
}

// Hashes: 'a' 1075015857, 'garage' 926285651, '' 669664877, 'office' 833812493; thirds end at 715827882 and 1431655764.

#[test]
fn rows_are_grouped_by_chunk_and_by_missing_cube() {
    let (one, two) = (cube(0, 10, 0), cube(0, 10, 900_000_000));
    let router = Router::new(&dimensions(10, 3), [(ChunkId(1), &one), (ChunkId(2), &two)]);
    let rows = [(3, "a"), (4, ""), (5, "garage"), (12, "a"), (19, "office"), (7, "a"), (12, "")];
    let groups = router.route(&batch(&rows)).unwrap();
    let group = |target, rows: &[u32]| RowGroup { target, rows: rows.to_vec() };
    assert_eq!(
        groups,
        [
            group(Target::Chunk(ChunkId(2)), &[0, 2, 5]),
            group(Target::Chunk(ChunkId(1)), &[1]),
            group(Target::Missing { cube: cube(10, 20, 900_000_000), point: vec![12, 1075015857] }, &[3, 4]),
            group(Target::Missing { cube: cube(10, 20, 0), point: vec![12, 669664877] }, &[6]),
        ]
    );
    let selected = groups[0].select(&batch(&rows)).unwrap();
    assert_eq!(selected, batch(&[(3, "a"), (5, "garage"), (7, "a")]));
}

#[test]
fn a_chunk_made_meanwhile_takes_its_rows() {
    let mut router = Router::new(&dimensions(10, 3), []);
    let rows = batch(&[(3, "a")]);
    let Target::Missing { cube, point } = router.route(&rows).unwrap().remove(0).target else { panic!("no chunk yet") };
    assert_eq!(router.find(&point), None);
    router.insert(ChunkId(7), cube);
    assert_eq!(router.find(&point), Some(ChunkId(7)));
    assert_eq!(router.route(&rows).unwrap(), [RowGroup { target: Target::Chunk(ChunkId(7)), rows: vec![0] }]);
}

#[test]
fn an_empty_batch_has_no_groups_and_a_missing_column_is_named() {
    let router = Router::new(&dimensions(10, 3), []);
    assert_eq!(router.route(&batch(&[])).unwrap(), []);
    let no_time = batch(&[(1, "a")]).project(&[0]).unwrap();
    let error = router.route(&no_time).unwrap_err();
    assert_eq!((error.code(), error.message()), (codes::UNDEFINED_COLUMN, "column \"time\" does not exist"));
}

proptest! {
    /// Rounds of batches, the interval and partition count changing between them: every row lands in exactly one
    /// group, the group's cube holds it, and the index finds what a linear search finds.
    #[test]
    fn every_row_lands_in_the_one_cube_that_holds_it(
        rounds in proptest::collection::vec(
            (1i64..12, 1u16..6, proptest::collection::vec((-30i64..30, "[a-h]"), 0..30)), 1..6,
        ),
    ) {
        let mut cubes: Vec<(ChunkId, Hypercube)> = Vec::new();
        for (interval, partitions, rows) in rounds {
            let dimensions = dimensions(interval, partitions);
            let router = Router::new(&dimensions, cubes.iter().map(|(id, cube)| (*id, cube)));
            let rows: Vec<(i64, &str)> = rows.iter().map(|(at, place)| (*at, place.as_str())).collect();
            let batch = batch(&rows);
            let columns = batch_coordinates(&dimensions, &batch).unwrap();
            let mut seen = vec![0; rows.len()];
            for group in router.route(&batch).unwrap() {
                let cube = match &group.target {
                    Target::Chunk(id) => cubes.iter().find(|(other, _)| other == id).unwrap().1.clone(),
                    Target::Missing { cube, .. } => {
                        prop_assert!(cubes.iter().all(|(_, other)| !other.overlaps(cube)));
                        cubes.push((ChunkId(cubes.len() as u32 + 1), cube.clone()));
                        cube.clone()
                    }
                };
                for row in group.rows {
                    let point = [columns[0][row as usize], columns[1][row as usize]];
                    prop_assert!(cube.contains(&point));
                    seen[row as usize] += 1;
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }

    #[test]
    fn three_dimensions_are_searched_in_full(points in proptest::collection::vec((0i64..20, 0..=i64::from(i32::MAX), 0..=i64::from(i32::MAX)), 1..40)) {
        let mut all = dimensions(10, 3);
        all.push(Dimension { id: DimensionId(3), column: "kind".into(), ..all[1].clone() });
        let mut router = Router::new(&all, []);
        let mut cubes: Vec<Hypercube> = Vec::new();
        for (time, first, second) in points {
            let point = [time, first, second];
            let linear = cubes.iter().position(|cube| cube.contains(&point)).map(|nth| ChunkId(nth as u32));
            prop_assert_eq!(router.find(&point), linear);
            if linear.is_none() {
                let cube = Hypercube::cut(&all, cubes.iter(), &point).unwrap();
                router.insert(ChunkId(cubes.len() as u32), cube.clone());
                cubes.push(cube);
            }
        }
    }
}
