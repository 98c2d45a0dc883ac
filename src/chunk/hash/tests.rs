//! Expected values: `SELECT hash…(…)` on stock PostgreSQL 15, and TimescaleDB 2.13.1 for the partition hashes.

use super::*;
use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use proptest::prelude::*;
use std::sync::Arc;

#[track_caller]
fn same(ours: u32, postgres: i32) {
    assert_eq!(ours as i32, postgres);
}

#[test]
fn text_hashes_as_in_postgres() {
    for (text, expected) in [
        ("", -1477818771),
        ("a", 1075015857),
        ("garage", -1221197997),
        ("office", -1313671155),
        ("host_0", 846629009),
        ("abc", -785388649),
        ("twelve bytes", 652846557),
        ("thirteen byte", -1367827268),
        ("a somewhat longer string, beyond 24", 87408741),
        ("Grüße", -1972371110),
        ("日本", -1851216170),
        ("dn ", -2120062220),
    ] {
        same(hash_text(text), expected);
    }
    same(hash_bpchar("a   "), 1075015857);
}

#[test]
fn integers_hash_as_in_postgres_whatever_their_width() {
    for (value, expected) in [
        (0, -272711505),
        (1, -1905060026),
        (2, 1134484726),
        (-1, 385747274),
        (-5, 1412886042),
        (100, 108199381),
        (i32::MAX, -96758253),
        (i32::MIN, -1524351049),
    ] {
        same(hash_int4(value), expected);
        same(hash_int8(i64::from(value)), expected);
    }
    same(hash_int2(32767), 1289782602);
    same(hash_int2(-32768), 193646934);
    for (value, expected) in [
        (2147483648, -1524351049),
        (-2147483649, -96758253),
        (i64::MAX, -1524351049),
        (i64::MIN, -96758253),
        (4294967296, -1905060026),
        (123456789012345, 297539683),
    ] {
        same(hash_int8(value), expected);
    }
    same(hash_oid(u32::MAX), 385747274);
    same(hash_oid(16384), -1726903597);
    same(hash_bool(true), -1905060026);
}

#[test]
fn floats_hash_as_in_postgres_with_one_zero_and_one_nan() {
    for (value, expected) in [
        (0.0, 0),
        (-0.0, 0),
        (1.5, 630860146),
        (-2.25, 1232036769),
        (1e300, 318710814),
        (f64::NAN, -1275764840),
        (-f64::NAN, -1275764840),
        (f64::INFINITY, -2133226302),
        (f64::NEG_INFINITY, -1377680656),
        (0.1, -573871567),
    ] {
        same(hash_float8(value), expected);
    }
    for (value, expected) in [(1.5, 630860146), (3.4e38, -1246605002), (0.1, -222057114), (f32::NAN, -1275764840)] {
        same(hash_float4(value), expected);
    }
}

#[test]
fn numerics_hash_as_in_postgres_whatever_their_scale() {
    for (unscaled, scale, expected) in [
        (0, 0, -1),
        (0, 10, -1),
        (1, 0, 1324868424),
        (-1, 0, 1324868424),
        (1, 1, 1951971037),
        (15, 1, 692967894),
        (150, 2, 692967894),
        (15_000_000_000, 10, 692967894),
        (10_000, 0, 1324868425),
        (100_000_000, 0, 1324868426),
        (1, -8, 1324868426),
        (123_456_789, 4, -2041232919),
        (1, 5, 1951971036),
        (-12, 5, 1267246686),
        (123_456_789_012_345_678_123_456_789, 9, 119960208),
        (99_999_999, 0, 566385398),
        (10, 0, -1143929986),
        (1, -1, -1143929986),
        (100, 0, 1186574835),
        (1000, 0, -1951971038),
    ] {
        same(hash_numeric(unscaled, scale), expected);
    }
}

#[test]
fn times_hash_as_in_postgres() {
    for (unix_micros, expected) in [
        (946_684_800_000_000, -272711505),
        (1_672_531_200_000_000, 3980094),
        (-1, -1591853939),
        (946_684_799_500_000, -1824611851),
        (i64::MAX, -1524351049),
        (i64::MIN, -96758253),
    ] {
        same(hash_timestamp(unix_micros), expected);
    }
    for (unix_days, expected) in [(10957, -272711505), (19358, 1410463158), (0, -1538670306)] {
        same(hash_date(unix_days), expected);
    }
    same(hash_int8(45_296_789_000), 1053370306); // time '12:34:56.789'
    for (months, days, nanoseconds, expected) in [
        (0, 1, 0, -2053980660),
        (0, 0, 86_400_000_000_000, -2053980660),
        (1, 2, 3_500_000_000, 319172003),
        (0, -1, 0, -1092701610),
    ] {
        same(hash_interval(months, days, nanoseconds), expected);
    }
}

fn hashes(column: impl Array + 'static, ty: &Type) -> Vec<i32> {
    partition_hash_as(&(Arc::new(column) as ArrayRef), ty).unwrap()
}

#[test]
fn columns_give_the_partition_hashes_of_timescaledb_and_null_gives_zero() {
    let texts = vec![Some("a"), Some("garage"), Some("office"), Some("host_0"), Some(""), None];
    let expected = [1075015857, 926285651, 833812493, 846629009, 669664877, 0];
    assert_eq!(hashes(StringArray::from(texts.clone()), &Type::TEXT), expected);
    assert_eq!(hashes(LargeStringArray::from(texts.clone()), &Type::TEXT), expected);
    assert_eq!(hashes(StringViewArray::from(texts.clone()), &Type::VARCHAR), expected);
    let dictionary: DictionaryArray<arrow::array::types::Int32Type> = texts.into_iter().collect();
    assert_eq!(hashes(dictionary, &Type::TEXT), expected);

    let integers = [1874772143, 242423622, 1134484726, 1412886042, 108199381];
    assert_eq!(hashes(Int32Array::from(vec![0, 1, 2, -5, 100]), &Type::INT4), integers);
    assert_eq!(hashes(Int64Array::from(vec![0, 1, 2, -5, 100]), &Type::INT8), integers);
    assert_eq!(hashes(Int32Array::from(vec![None, Some(2)]), &Type::INT4), [0, 1134484726]);
    assert_eq!(hashes(Float64Array::from(vec![1.5]), &Type::FLOAT8), [630860146]);
    assert_eq!(hashes(BooleanArray::from(vec![Some(true), None]), &Type::BOOL), [242423622, 0]);
    assert_eq!(hashes(Date32Array::from(vec![19358]), &Type::DATE), [1410463158]);
    let decimals = Decimal128Array::from(vec![150]).with_precision_and_scale(5, 2).unwrap();
    assert_eq!(hashes(decimals, &Type::NUMERIC), [692967894]);
    let stamps = TimestampMicrosecondArray::from(vec![1_672_531_200_000_000]).with_timezone("UTC");
    assert_eq!(hashes(stamps, &Type::TIMESTAMPTZ), [3980094]);
    let uuids = StringArray::from(vec!["550e8400-e29b-41d4-a716-446655440000"]);
    assert_eq!(hashes(uuids, &Type::UUID), [1767676535]);
    assert_eq!(hashes(BinaryArray::from(vec![b"a".as_slice()]), &Type::BYTEA), [1075015857]);
}

#[test]
fn the_field_tells_which_strings_are_text_char_or_uuid() {
    let tagged =
        |tag: &str| Field::new("c", DataType::Utf8, true).with_metadata([("pg.type".into(), tag.into())].into());
    assert_eq!(crate::sql::types::PG_TYPE, "pg.type");
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a  "]));
    let text = partition_hash(&column, &Field::new("c", DataType::Utf8, true)).unwrap();
    assert_eq!(text, partition_hash(&column, &tagged("varchar")).unwrap());
    assert_eq!(partition_hash(&column, &tagged("bpchar")).unwrap(), [1075015857]);
    assert_eq!(partition_hash(&column, &tagged("uuid")).unwrap_err().code(), codes::INVALID_TEXT);
    assert_eq!(partition_hash(&column, &tagged("jsonb")).unwrap_err().code(), codes::UNDEFINED_FUNCTION);
}

#[test]
fn types_without_a_hash_function_are_refused_by_name() {
    let error = check_hashable(&Type::JSONB).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (codes::UNDEFINED_FUNCTION, "could not find hash function for type jsonb")
    );
    check_hashable(&Type::TEXT).unwrap();
    assert_eq!(hash_function_name(Type::TEXT.oid()), Some("hashtext"));
    assert_eq!(hash_function_name(Type::TIMESTAMPTZ.oid()), None);
    assert_eq!(hash_function_name(4_000_000_000), None);
}

proptest! {
    #[test]
    fn four_bytes_hash_like_the_word_they_form(value: u32) {
        prop_assert_eq!(hash_u32(value), hash_bytes(&value.to_le_bytes()));
    }

    #[test]
    fn a_numeric_hashes_alike_at_any_scale(value in -1_000_000_000_000i128..1_000_000_000_000, scale in 0i8..12, more in 0i8..12) {
        prop_assert_eq!(hash_numeric(value, scale), hash_numeric(value * 10i128.pow(more as u32), scale + more));
    }
}
