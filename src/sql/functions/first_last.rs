//! `first(value, time)` and `last(value, time)`: the value at the least or greatest time.
//!
//! Rows without a time are passed over; among equal times the row seen first stays, as in TimescaleDB. The partial
//! state is the pair itself, so groups that span nodes combine.

use datafusion::arrow::array::{Array, ArrayRef, make_comparator};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use std::cmp::Ordering;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    First,
    Last,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Bookend {
    end: End,
    signature: Signature,
}

impl Bookend {
    pub fn new(end: End) -> Bookend {
        Bookend { end, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Bookend {
    fn name(&self) -> &str {
        match self.end {
            End::First => "first",
            End::Last => "last",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _] => Ok(types.to_vec()),
            _ => plan_err!("function {}() takes a value and a time", self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [value, _] => Ok(value.clone()),
            _ => plan_err!("function {}() takes a value and a time", self.name()),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, source: &FieldRef| {
            Arc::new(Field::new(format!("{}[{name}]", arguments.name), source.data_type().clone(), true))
        };
        Ok(vec![field("value", &arguments.input_fields[0]), field("time", &arguments.input_fields[1])])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let fields = &arguments.expr_fields;
        Ok(Box::new(Best {
            end: self.end,
            value: ScalarValue::try_from(fields[0].data_type())?,
            time: ScalarValue::try_from(fields[1].data_type())?,
        }))
    }
}

#[derive(Debug)]
struct Best {
    end: End,
    value: ScalarValue,
    /// NULL until a row with a time was seen.
    time: ScalarValue,
}

impl Best {
    /// Index of the best row of a batch; `None` when no row has a time.
    fn best_of(&self, times: &ArrayRef) -> Result<Option<usize>> {
        let compare = make_comparator(times, times, SortOptions::default())?;
        let wanted = match self.end {
            End::First => Ordering::Less,
            End::Last => Ordering::Greater,
        };
        let mut best: Option<usize> = None;
        for row in 0..times.len() {
            if times.is_valid(row) && best.is_none_or(|best| compare(row, best) == wanted) {
                best = Some(row);
            }
        }
        Ok(best)
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(row) = self.best_of(&columns[1])? else { return Ok(()) };
        let time = ScalarValue::try_from_array(&columns[1], row)?;
        let better = self.time.is_null()
            || match self.end {
                End::First => time.partial_cmp(&self.time) == Some(Ordering::Less),
                End::Last => time.partial_cmp(&self.time) == Some(Ordering::Greater),
            };
        if better {
            self.value = ScalarValue::try_from_array(&columns[0], row)?;
            self.time = time;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.time.clone()])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() + self.time.size()
    }
}
