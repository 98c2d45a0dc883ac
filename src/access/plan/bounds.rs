//! What filters say about a hypertable's dimensions: the range of times and the hashes that can still match.
//!
//! Always an over-estimate: a chunk is left out only if no row in it can pass the filters.

use super::bucket::width_micros;
use super::literal::{Class, class, keeps_micros};
use crate::catalog::Dimension;
use crate::chunk::exclusion::{Coordinates, can_match};
use crate::chunk::slice::Hypercube;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

const DAY_MICROS: i64 = 86_400_000_000;

/// Coordinates that can match, one set per dimension, in the hypertable's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds(Vec<Coordinates>);

impl Bounds {
    /// What all `filters` together leave over. Columns in filters carry no qualifier.
    pub fn of(dimensions: &[Dimension], schema: &SchemaRef, filters: &[Expr]) -> Bounds {
        let context = Context { dimensions, schema };
        filters.iter().fold(context.anything(), |bounds, filter| bounds.and(context.bounds(filter)))
    }

    /// Whether the filters say anything at all about a dimension.
    pub fn is_bounded(&self) -> bool {
        self.0.iter().any(|coordinates| *coordinates != Coordinates::ALL)
    }

    /// Whether a chunk may hold a matching row.
    pub fn admit(&self, cube: &Hypercube) -> bool {
        can_match(cube, &self.0)
    }

    fn and(self, other: Bounds) -> Bounds {
        Bounds(self.0.into_iter().zip(other.0).map(|(a, b)| a.and(b)).collect())
    }

    fn or(self, other: Bounds) -> Bounds {
        Bounds(self.0.into_iter().zip(other.0).map(|(a, b)| a.or(b)).collect())
    }
}

/// An expression that follows an open dimension's coordinate `c` closely: its value, in coordinate units, lies in
/// `c - below ..= c + above`.
struct Follows {
    dimension: usize,
    below: i64,
    above: i64,
}

struct Context<'a> {
    dimensions: &'a [Dimension],
    schema: &'a SchemaRef,
}

impl Context<'_> {
    fn anything(&self) -> Bounds {
        Bounds(vec![Coordinates::ALL; self.dimensions.len()])
    }

    fn only(&self, dimension: usize, coordinates: Coordinates) -> Bounds {
        let mut bounds = self.anything();
        bounds.0[dimension] = coordinates;
        bounds
    }

    fn bounds(&self, filter: &Expr) -> Bounds {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.bounds(left).and(self.bounds(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => self.bounds(left).or(self.bounds(right)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (inner, Expr::Literal(value, _)) => self.comparison(inner, *op, value),
                (Expr::Literal(value, _), inner) => match op.swap() {
                    Some(swapped) => self.comparison(inner, swapped, value),
                    None => self.anything(),
                },
                _ => self.anything(),
            },
            Expr::Between(Between { expr, negated: false, low, high }) => match (&**low, &**high) {
                (Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    self.comparison(expr, Operator::GtEq, low).and(self.comparison(expr, Operator::LtEq, high))
                }
                _ => self.anything(),
            },
            Expr::InList(InList { expr, list, negated: false }) => self.in_list(expr, list),
            _ => self.anything(),
        }
    }

    fn in_list(&self, inner: &Expr, list: &[Expr]) -> Bounds {
        let of = |item: &Expr| match item {
            Expr::Literal(value, _) => self.comparison(inner, Operator::Eq, value),
            _ => self.anything(),
        };
        list.iter().map(of).reduce(Bounds::or).unwrap_or_else(|| self.anything())
    }

    fn comparison(&self, inner: &Expr, op: Operator, value: &ScalarValue) -> Bounds {
        if let Some(follows) = self.follows(inner) {
            return match range(&follows, op, value) {
                Some(coordinates) => self.only(follows.dimension, coordinates),
                None => self.anything(),
            };
        }
        match (op, self.closed(inner)) {
            (Operator::Eq, Some(position)) => match self.hash(position, value) {
                Some(hash) => self.only(position, hash),
                None => self.anything(),
            },
            _ => self.anything(),
        }
    }

    fn dimension(&self, column: &str, open: bool) -> Option<usize> {
        self.dimensions.iter().position(|known| known.column == column && known.is_open() == open)
    }

    fn follows(&self, inner: &Expr) -> Option<Follows> {
        match inner {
            Expr::Column(column) => {
                Some(Follows { dimension: self.dimension(&column.name, true)?, below: 0, above: 0 })
            }
            Expr::Alias(alias) => self.follows(&alias.expr),
            Expr::Cast(cast) => self.follows_cast(&cast.expr, cast.field.data_type()),
            Expr::ScalarFunction(call) => {
                let [first, source, ..] = call.args.as_slice() else { return None };
                let width = match call.func.name() {
                    "time_bucket" | "date_bin" => width_micros(first).ok()?,
                    // No unit is longer than a leap year.
                    "date_trunc" => 366 * DAY_MICROS,
                    _ => return None,
                };
                let follows = self.follows(source)?;
                Some(Follows { below: follows.below.checked_add(width)?, ..follows })
            }
            _ => None,
        }
    }

    fn follows_cast(&self, inner: &Expr, to: &DataType) -> Option<Follows> {
        let follows = self.follows(inner)?;
        match to {
            DataType::Timestamp(unit, _) if keeps_micros(unit) => Some(follows),
            // Which way it rounds before 1970 is not worth knowing here.
            DataType::Date32 => Some(Follows {
                below: follows.below.checked_add(DAY_MICROS)?,
                above: follows.above.checked_add(DAY_MICROS)?,
                ..follows
            }),
            _ if class(to) == Some(Class::Integer) => Some(follows),
            _ => None,
        }
    }

    /// The closed dimension whose column `inner` is, perhaps under a cast that keeps equality.
    fn closed(&self, inner: &Expr) -> Option<usize> {
        match inner {
            Expr::Column(column) => self.dimension(&column.name, false),
            Expr::Alias(alias) => self.closed(&alias.expr),
            Expr::Cast(cast) => {
                let position = self.closed(&cast.expr)?;
                let from = self.schema.field_with_name(&self.dimensions[position].column).ok()?;
                let (from, to) = (class(from.data_type())?, class(cast.field.data_type())?);
                (from == to && matches!(to, Class::Integer | Class::Text)).then_some(position)
            }
            _ => None,
        }
    }

    fn hash(&self, position: usize, value: &ScalarValue) -> Option<Coordinates> {
        let dimension = &self.dimensions[position];
        let storage = self.schema.field_with_name(&dimension.column).ok()?.data_type();
        // A constant that the column's type cannot hold matches nothing; finding that out is left to the data node.
        if class(&value.data_type())? != class(storage)? {
            return None;
        }
        let values = value.cast_to(storage).ok()?.to_array().ok()?;
        Coordinates::equal_to(&values, dimension).ok()
    }
}

fn range(follows: &Follows, op: Operator, value: &ScalarValue) -> Option<Coordinates> {
    let (floor, ceiling) = coordinate(value)?;
    let (least, greatest) = (floor.saturating_sub(follows.above), ceiling.saturating_add(follows.below));
    // `saturating`: at the very ends of the time line the strict bound is as good as the other.
    Some(match op {
        Operator::Eq => Coordinates::from(least).and(Coordinates::up_to(greatest)),
        Operator::GtEq => Coordinates::from(least),
        Operator::Gt => Coordinates::from(least.saturating_add(1)),
        Operator::LtEq => Coordinates::up_to(greatest),
        Operator::Lt => Coordinates::up_to(greatest.saturating_sub(1)),
        _ => return None,
    })
}

/// A constant in coordinate units, rounded down and up.
fn coordinate(value: &ScalarValue) -> Option<(i64, i64)> {
    let exact = |coordinate: i64| Some((coordinate, coordinate));
    match value {
        ScalarValue::Int16(Some(number)) => exact(i64::from(*number)),
        ScalarValue::Int32(Some(number)) => exact(i64::from(*number)),
        ScalarValue::Int64(Some(number)) => exact(*number),
        ScalarValue::Date32(Some(days)) => exact(i64::from(*days).checked_mul(DAY_MICROS)?),
        ScalarValue::TimestampSecond(Some(count), _) => exact(count.checked_mul(1_000_000)?),
        ScalarValue::TimestampMillisecond(Some(count), _) => exact(count.checked_mul(1_000)?),
        ScalarValue::TimestampMicrosecond(Some(count), _) => exact(*count),
        ScalarValue::TimestampNanosecond(Some(nanos), _) => {
            let floor = nanos.div_euclid(1_000);
            Some((floor, if nanos % 1_000 == 0 { floor } else { floor + 1 }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::DimensionKind;
    use crate::chunk::hash::hash_text;
    use crate::chunk::slice::Slice;
    use crate::ids::DimensionId;
    use crate::sql::types::timestamptz;
    use arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion::prelude::{cast, col, lit};
    use postgres_types::Type;
    use std::sync::Arc;

    fn time_only(filters: &[Expr], slice: (i64, i64)) -> bool {
        let dimension = Dimension {
            id: DimensionId(1),
            column: "time".into(),
            type_oid: Type::TIMESTAMPTZ.oid(),
            kind: DimensionKind::Open { interval: 100 },
        };
        let schema = Arc::new(Schema::new(vec![Field::new("time", timestamptz(), false)]));
        let cube = Hypercube(vec![Slice { start: slice.0, end: slice.1 }]);
        Bounds::of(&[dimension], &schema, filters).admit(&cube)
    }

    fn micros(value: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(value), Some("+00:00".into())))
    }

    #[test]
    fn a_slice_ends_before_its_end() {
        assert!(time_only(&[col("time").gt_eq(micros(99))], (0, 100)));
        assert!(!time_only(&[col("time").gt_eq(micros(100))], (0, 100)));
        assert!(!time_only(&[col("time").gt(micros(99))], (0, 100)));
        assert!(!time_only(&[micros(0).gt(col("time"))], (0, 100)));
        assert!(time_only(&[col("time").lt_eq(micros(0))], (0, 100)));
        assert!(time_only(&[col("time").gt(micros(5))], (i64::MIN, i64::MAX)));
    }

    #[test]
    fn and_narrows_and_or_widens() {
        let (early, late) = (col("time").lt(micros(50)), col("time").gt_eq(micros(250)));
        assert!(!time_only(&[early.clone(), late.clone()], (0, 100)));
        assert!(time_only(&[early.clone().or(late.clone())], (0, 100)));
        assert!(!time_only(&[col("time").in_list(vec![micros(1), micros(2)], false)], (100, 200)));
        assert!(time_only(&[early.or(col("x").eq(lit(1)))], (100, 200)));
    }

    #[test]
    fn constants_of_other_precision_and_dates_are_understood() {
        let nanos = lit(ScalarValue::TimestampNanosecond(Some(100_001), Some("+00:00".into())));
        assert!(time_only(&[col("time").lt(nanos.clone())], (100, 200)));
        assert!(!time_only(&[col("time").lt(nanos)], (101, 200)));
        let day = lit(ScalarValue::Date32(Some(10)));
        let wide = cast(col("time"), DataType::Timestamp(TimeUnit::Nanosecond, None));
        assert!(!time_only(&[wide.gt_eq(day.clone())], (9 * DAY_MICROS, 10 * DAY_MICROS)));
        let as_date = cast(col("time"), DataType::Date32).eq(day);
        assert!(time_only(std::slice::from_ref(&as_date), (10 * DAY_MICROS + 5, 11 * DAY_MICROS)));
        assert!(!time_only(&[as_date], (12 * DAY_MICROS, 13 * DAY_MICROS)));
    }

    #[test]
    fn equality_in_space_leaves_the_slices_of_those_hashes() {
        let dimension = Dimension {
            id: DimensionId(1),
            column: "host".into(),
            type_oid: Type::TEXT.oid(),
            kind: DimensionKind::Closed { partitions: 2 },
        };
        let schema = Arc::new(Schema::new(vec![Field::new("host", DataType::Utf8, false)]));
        let admits = |filter: Expr, text: &str| {
            let hash = i64::from(hash_text(text) & 0x7fff_ffff);
            let cube = Hypercube(vec![Slice { start: hash, end: hash + 1 }]);
            Bounds::of(std::slice::from_ref(&dimension), &schema, &[filter]).admit(&cube)
        };
        let wide = cast(col("host"), DataType::Utf8View);
        assert!(admits(wide.clone().eq(lit(ScalarValue::Utf8View(Some("a".into())))), "a"));
        assert!(!admits(wide.eq(lit(ScalarValue::Utf8View(Some("a".into())))), "b"));
        assert!(admits(col("host").in_list(vec![lit("a"), lit("b")], false), "b"));
        assert!(!admits(col("host").in_list(vec![lit("a"), lit("b")], false), "c"));
        assert!(admits(col("host").not_eq(lit("a")), "a"));
    }
}
