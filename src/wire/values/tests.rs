//! The right-hand sides were printed by PostgreSQL 15.

use super::*;
use crate::sql::types::field;
use arrow::array::Array;
use arrow::datatypes::DataType;
use postgres_types::Type;
use proptest::prelude::*;

fn column(ty: &Type) -> Field {
    field("c", ty, true).unwrap()
}

fn text_of(array: &ArrayRef, field: &Field, format: &Format) -> Option<String> {
    let mut out = BytesMut::new();
    write_text(array, field, 0, format, &mut out).unwrap().then(|| String::from_utf8(out.to_vec()).unwrap())
}

fn round_in(field: &Field, text: &str, format: &Format) -> String {
    let array = parse_text(field, Some(text), format).unwrap_or_else(|e| panic!("{text}: {e}"));
    let printed = text_of(&array, field, format).unwrap();
    // Binary out and in must come to the same value.
    let mut binary = BytesMut::new();
    assert!(write_binary(&array, field, 0, &mut binary).unwrap());
    let again = parse_binary(field, Some(&binary)).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(again.as_ref(), array.as_ref(), "binary form of {text}");
    printed
}

fn check_in(ty: &Type, zone: chrono_tz::Tz, table: &str) {
    let (field, format) = (column(ty), Format { time_zone: zone });
    for line in table.lines().filter(|l| !l.trim().is_empty()) {
        let (input, expected) = line.trim_start().split_once('|').unwrap();
        assert_eq!(round_in(&field, input, &format), expected, "{ty} {input}");
    }
}

fn check(ty: &Type, table: &str) {
    check_in(ty, chrono_tz::UTC, table);
}

fn failure(field: &Field, text: &str) -> (String, String) {
    let error = parse_text(field, Some(text), &Format::default()).expect_err(text);
    (error.code().to_string(), error.message().to_string())
}

#[test]
fn double_precision_prints_the_shortest_digits() {
    check(
        &Type::FLOAT8,
        "1e15|1e+15
        123456789012345|123456789012345
        1e14|100000000000000
        1e-4|0.0001
        1e-5|1e-05
        0.1|0.1
        -0|-0
        1e300|1e+300
        5e-324|5e-324
        1.7976931348623157e308|1.7976931348623157e+308
        100|100
        -1234567.891|-1234567.891
        12345678901234567|1.2345678901234568e+16
        0.30000000000000004|0.30000000000000004
         1.5 |1.5
        inf|Infinity
        -infinity|-Infinity",
    );
    let field = column(&Type::FLOAT8);
    let nan = parse_text(&field, Some("nan"), &Format::default()).unwrap();
    assert_eq!(text_of(&nan, &field, &Format::default()).unwrap(), "NaN");
}

#[test]
fn real_switches_to_exponents_earlier() {
    check(
        &Type::FLOAT4,
        "1e6|1e+06
        123456|123456
        1e5|100000
        1e-4|0.0001
        1e-5|1e-05
        0.1|0.1
        3.4028235e38|3.4028235e+38
        16777216|1.6777216e+07
        1e-45|1e-45",
    );
}

#[test]
fn intervals_read_leniently_and_print_in_postgres_style() {
    check(
        &Type::INTERVAL,
        "1 day 02:00:00|1 day 02:00:00
        7 days|7 days
        P7D|7 days
        1 year 2 mons|1 year 2 mons
        -1 day|-1 days
        1 mon -1 day|1 mon -1 days
        -1 year 1 day -02:03:04.5|-1 years +1 day -02:03:04.5
        @ 1 hour ago|-01:00:00
        1.5 hours|01:30:00
        1.5 days|1 day 12:00:00
        1.5 months|1 mon 15 days
        1.5 years|1 year 6 mons
        1.5 weeks|10 days 12:00:00
        1-2|1 year 2 mons
        1 02:03:04|1 day 02:03:04
        30|00:00:30
        30.5|00:00:30.5
        P1Y2M3DT4H5M6.5S|1 year 2 mons 3 days 04:05:06.5
        PT0.5S|00:00:00.5
        0|00:00:00
        -1-2|-1 years -2 mons
        -00:00:01|-00:00:01
        100:00:00|100:00:00
        1 day ago|-1 days
        1 week|7 days
        2 decades|20 years
        1 century|100 years
        500 ms|00:00:00.5
        3 us|00:00:00.000003
        -1 mon 2 days|-1 mons +2 days
        1 day -1 hour|1 day -01:00:00
        1:30|01:30:00
        1 day 1:30|1 day 01:30:00
        0.1 day|02:24:00
        1h 30m|01:30:00
        1h30m|01:30:00
        1.25 years|1 year 3 mons
        0.7 mons|21 days
        -1.5 days|-1 days -12:00:00
        1 day 3|1 day 00:00:03",
    );
}

#[test]
fn timestamptz_reads_what_people_write() {
    check(
        &Type::TIMESTAMPTZ,
        "2023-01-01|2023-01-01 00:00:00+00
        2023-01-01 00:00:00|2023-01-01 00:00:00+00
        2023-01-01T12:34:56.789Z|2023-01-01 12:34:56.789+00
        2023-01-01 12:34:56+05:30|2023-01-01 07:04:56+00
        2023-01-01 12:34:56 America/New_York|2023-01-01 17:34:56+00
        epoch|1970-01-01 00:00:00+00
        infinity|infinity
        -infinity|-infinity
        Jan 8 1999|1999-01-08 00:00:00+00
        8 Jan 1999 04:05:06 PM|1999-01-08 16:05:06+00
        January 8, 1999|1999-01-08 00:00:00+00
        1/8/1999|1999-01-08 00:00:00+00
        19990108|1999-01-08 00:00:00+00
        19990108T040506|1999-01-08 04:05:06+00
        1999-01-08 04:05:06.1234567|1999-01-08 04:05:06.123457+00
        0044-03-15 BC|0044-03-15 00:00:00+00 BC
        2023-01-01 24:00:00|2023-01-02 00:00:00+00
        2023-01-01 12:00:60|2023-01-01 12:01:00+00
        2023-01-01 04:05 AM PST|2023-01-01 12:05:00+00
        12345-01-01|12345-01-01 00:00:00+00
        4713-01-01 BC|4713-01-01 00:00:00+00 BC
        1999-Jan-08|1999-01-08 00:00:00+00
        08-Jan-1999|1999-01-08 00:00:00+00
        Jan-08-1999|1999-01-08 00:00:00+00
        2023-06-01 00:00:00+0530|2023-05-31 18:30:00+00
        2023-06-01 00:00:00-03|2023-06-01 03:00:00+00
        Mon Jan 2 15:04:05 2006 UTC|2006-01-02 15:04:05+00
        2006-01-02 15:04:05 UTC|2006-01-02 15:04:05+00
        2023-1-2 3:4:5|2023-01-02 03:04:05+00
        2023/01/02|2023-01-02 00:00:00+00
        2023-01-01 12:00:00.5 -08:00|2023-01-01 20:00:00.5+00",
    );
}

#[test]
fn timestamptz_lives_in_the_sessions_zone() {
    check_in(
        &Type::TIMESTAMPTZ,
        chrono_tz::America::New_York,
        "2023-01-01|2023-01-01 00:00:00-05
        2023-06-01 00:00:00|2023-06-01 00:00:00-04
        2023-03-12 02:30:00|2023-03-12 03:30:00-04
        2023-11-05 01:30:00|2023-11-05 01:30:00-05
        1850-01-01 00:00:00+00|1849-12-31 19:03:58-04:56:02
        0044-03-15 BC|0044-03-15 00:00:00-04:56:02 BC",
    );
    check_in(&Type::TIMESTAMPTZ, chrono_tz::Asia::Kolkata, "2023-01-01|2023-01-01 00:00:00+05:30");
}

#[test]
fn dates_times_and_timestamps() {
    check(
        &Type::DATE,
        "2023-01-01|2023-01-01
        0044-03-15 BC|0044-03-15 BC
        infinity|infinity
        5874897-12-31|5874897-12-31
        Jan 8 1999|1999-01-08
        1999-01-08 04:05:06|1999-01-08
        10000-01-01|10000-01-01",
    );
    check(
        &Type::TIME,
        "04:05|04:05:00
        04:05:06.789|04:05:06.789
        040506|04:05:06
        04:05 PM|16:05:00
        24:00:00|24:00:00
        12:00 AM|00:00:00
        12:00 PM|12:00:00
        04:05:06.5+02|04:05:06.5
        23:59:60|24:00:00",
    );
    check(&Type::TIMESTAMP, "2023-01-01 12:00:00+05|2023-01-01 12:00:00\n1969-12-31 23:59:59.5|1969-12-31 23:59:59.5");
}

#[test]
fn numeric_keeps_declared_scale_and_trims_undeclared() {
    let declared = Field::new("c", DataType::Decimal128(10, 2), true);
    for (input, expected) in [
        ("1", "1.00"),
        ("1.005", "1.01"),
        ("-1.005", "-1.01"),
        ("1e3", "1000.00"),
        (".5", "0.50"),
        ("1.", "1.00"),
        ("12345678.994", "12345678.99"),
        ("0", "0.00"),
        ("-0.001", "0.00"),
    ] {
        assert_eq!(round_in(&declared, input, &Format::default()), expected, "{input}");
    }
    check(&Type::NUMERIC, "1|1\n1.50|1.5\n-0.0001|-0.0001\n10000|10000\n1e-10|0.0000000001\n1e-11|0\n 12 |12");
    let round = Field::new("c", DataType::Decimal128(10, -2), true);
    assert_eq!(round_in(&round, "12345", &Format::default()), "12300");
}

#[test]
fn numeric_binary_is_postgresqls() {
    let field = column(&Type::NUMERIC);
    for (text, hex) in [
        ("0", "0000000000000000"),
        ("1", "00010000000000000001"),
        ("-1", "00010000400000000001"),
        ("0.5", "0001ffff000000011388"),
        ("123.45", "0002000000000002007b1194"),
        ("10000", "00010001000000000001"),
        ("0.0001", "0001ffff000000040001"),
        ("0.00001", "0001fffe0000000503e8"),
        ("1234567890.123456789", "0006000200000009000c0d801ed204d2162e2328"),
        ("99999999", "0002000100000000270f270f"),
        ("100000000", "00010002000000000001"),
    ] {
        let array = parse_text(&field, Some(text), &Format::default()).unwrap();
        let mut out = BytesMut::new();
        write_binary(&array, &field, 0, &mut out).unwrap();
        assert_eq!(out.iter().map(|b| format!("{b:02x}")).collect::<String>(), hex, "{text}");
    }
}

#[test]
fn arrays_quote_what_would_read_as_something_else() {
    check(
        &Type::TEXT_ARRAY,
        r#"{a,"b c",NULL}|{a,"b c",NULL}
        {}|{}
        {"null",NULL}|{"null",NULL}
        { a , b }|{a,b}
        {"a\"b"}|{"a\"b"}
        {a\ b}|{"a b"}
        {""}|{""}
        {"a,b","{}"}|{"a,b","{}"}"#,
    );
    check(&Type::INT4_ARRAY, "{1, 2,NULL}|{1,2,NULL}");
    check(&Type::TIMESTAMPTZ_ARRAY, "{2023-01-01}|{\"2023-01-01 00:00:00+00\"}");
}

#[test]
fn booleans_bytes_and_identifiers() {
    check(&Type::BOOL, "t|t\nTRUE|t\nyes|t\non|t\n1|t\nof|f\nn|f\n0|f\n fal |f");
    check(&Type::BYTEA, "\\x6869|\\x6869\nhi\\000\\\\|\\x6869005c\n\\x|\\x");
    check(
        &Type::UUID,
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11
        {a0eebc999c0b4ef8bb6d6bb9bd380a11}|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    );
    check(&Type::JSONB, "{\"a\": 1}|{\"a\": 1}");
    check(&Type::OID, "4294967295|4294967295");
    check(&Type::TEXT, "Grüße|Grüße");
}

#[test]
fn null_is_null_in_every_type() {
    for ty in [Type::BOOL, Type::INT8, Type::NUMERIC, Type::TEXT, Type::TIMESTAMPTZ, Type::INT4_ARRAY, Type::UUID] {
        let field = column(&ty);
        let array = parse_text(&field, None, &Format::default()).unwrap();
        assert!(array.is_null(0));
        assert_eq!(text_of(&array, &field, &Format::default()), None);
        assert!(!write_binary(&array, &field, 0, &mut BytesMut::new()).unwrap());
    }
}

#[test]
fn errors_are_worded_as_postgresql_words_them() {
    let cases = [
        (Type::INT4, "abc", "22P02", "invalid input syntax for type integer: \"abc\""),
        (Type::INT4, "99999999999", "22003", "value \"99999999999\" is out of range for type integer"),
        (Type::INT8, "", "22P02", "invalid input syntax for type bigint: \"\""),
        (Type::INT2, "1 2", "22P02", "invalid input syntax for type smallint: \"1 2\""),
        (Type::TIMESTAMPTZ, "x", "22007", "invalid input syntax for type timestamp with time zone: \"x\""),
        (Type::TIMESTAMPTZ, "2023-13-01", "22008", "date/time field value out of range: \"2023-13-01\""),
        (Type::TIMESTAMPTZ, "2023-01-01 00:00:00 Foo/Bar", "22023", "time zone \"Foo/Bar\" not recognized"),
        (Type::TIMESTAMP, "300000-01-01", "22008", "timestamp out of range: \"300000-01-01\""),
        (Type::DATE, "2023-02-30", "22008", "date/time field value out of range: \"2023-02-30\""),
        (Type::TIME, "25:00", "22008", "date/time field value out of range: \"25:00\""),
        (Type::FLOAT8, "1e400", "22003", "\"1e400\" is out of range for type double precision"),
        (Type::FLOAT8, "1e-400", "22003", "\"1e-400\" is out of range for type double precision"),
        (Type::BOOL, "maybe", "22P02", "invalid input syntax for type boolean: \"maybe\""),
        (Type::UUID, "x", "22P02", "invalid input syntax for type uuid: \"x\""),
        (Type::TEXT_ARRAY, "{a", "22P02", "malformed array literal: \"{a\""),
        (Type::TEXT_ARRAY, "{a,}", "22P02", "malformed array literal: \"{a,}\""),
        (Type::NUMERIC, "12x", "22P02", "invalid input syntax for type numeric: \"12x\""),
        (Type::INTERVAL, "1 foo", "22007", "invalid input syntax for type interval: \"1 foo\""),
        (Type::INTERVAL, "9999999999 years", "22015", "interval field value out of range: \"9999999999 years\""),
        (Type::BYTEA, "\\xabc", "22023", "invalid hexadecimal data: odd number of digits"),
        (Type::JSON, "{\"a\":}", "22P02", "invalid input syntax for type json"),
        (Type::TEXT, "a\0b", "22021", "invalid byte sequence for encoding \"UTF8\": 0x00"),
    ];
    for (ty, text, code, message) in cases {
        assert_eq!(failure(&column(&ty), text), (code.to_string(), message.to_string()), "{ty}");
    }
    let narrow = Field::new("c", DataType::Decimal128(4, 2), true);
    let error = parse_text(&narrow, Some("123.45"), &Format::default()).unwrap_err();
    assert_eq!(error.code(), codes::NUMERIC_OUT_OF_RANGE);
    assert_eq!(
        error.detail(),
        Some("A field with precision 4, scale 2 must round to an absolute value less than 10^2.")
    );
}

fn all_types() -> Vec<Type> {
    vec![
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::TEXT,
        Type::VARCHAR,
        Type::UUID,
        Type::JSON,
        Type::JSONB,
        Type::REGCLASS,
        Type::BYTEA,
        Type::DATE,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::TIME,
        Type::INTERVAL,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
    ]
}

proptest! {
    #[test]
    fn no_text_makes_any_parser_panic(text in "[-+0-9a-zA-ZäT:./ {}\"\\\\,]{0,30}") {
        for ty in all_types() {
            let _ = parse_text(&column(&ty), Some(&text), &Format { time_zone: chrono_tz::Europe::Berlin });
        }
    }

    #[test]
    fn no_bytes_make_any_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for ty in all_types() {
            let _ = parse_binary(&column(&ty), Some(&bytes));
        }
    }

    #[test]
    fn any_double_survives_its_text(value in any::<f64>()) {
        let field = column(&Type::FLOAT8);
        let mut out = BytesMut::new();
        number::write_float(value, &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        let read = parse_text(&field, Some(text), &Format::default()).unwrap();
        let read = read.as_any().downcast_ref::<arrow::array::Float64Array>().unwrap().value(0);
        prop_assert!(read == value || (read.is_nan() && value.is_nan()));
    }

    #[test]
    fn any_moment_survives_its_text(micros in -200_000_000_000_000_000_i64..9_000_000_000_000_000_000) {
        // Not where the clocks go back: there one text means two moments.
        let zone = chrono_tz::Asia::Tokyo;
        prop_assume!(micros > 0);
        let mut out = BytesMut::new();
        datetime::write_timestamp(micros, Some(zone), &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(datetime_input::parse_timestamptz(text, chrono_tz::UTC).unwrap(), micros);
    }

    #[test]
    fn calendar_agrees_with_chrono(days in -90_000_000_i64..90_000_000) {
        use chrono::Datelike;
        let (year, month, day) = datetime::date_of(days);
        prop_assert_eq!(datetime::days_of(year, month, day), days);
        let chrono = chrono::NaiveDate::from_num_days_from_ce_opt(i32::try_from(days).unwrap() + 719_163);
        if let Some(date) = chrono {
            prop_assert_eq!((i64::from(date.year()), date.month(), date.day()), (year, month, day));
        }
    }

    #[test]
    fn any_numeric_survives_text_and_binary(value in -(10_i128.pow(37))..10_i128.pow(37), scale in 0_i8..20) {
        let shape = number::Shape { precision: 38, scale };
        let mut out = BytesMut::new();
        number::write_numeric(value, shape, &mut out);
        prop_assert_eq!(number::parse_numeric(std::str::from_utf8(&out).unwrap(), shape).unwrap(), value);
        out.clear();
        number::write_numeric_binary(value, shape, &mut out);
        prop_assert_eq!(number::read_numeric_binary(&out, shape).unwrap(), value);
    }

    #[test]
    fn any_interval_survives_its_text(
        months in -1000_i32..1000, days in any::<i32>(), micros in -9_000_000_000_000_000_i64..9_000_000_000_000_000
    ) {
        let value = arrow::datatypes::IntervalMonthDayNano::new(months, days, micros * 1000);
        let mut out = BytesMut::new();
        interval::write_interval(value, &mut out);
        prop_assert_eq!(interval::parse_interval(std::str::from_utf8(&out).unwrap()).unwrap(), value);
    }

    #[test]
    fn any_array_survives_its_text(items in proptest::collection::vec(proptest::option::of("[a-c,\"\\\\{} N]{0,4}"), 0..5)) {
        let mut out = BytesMut::from("{");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            match item {
                Some(text) => array::write_element(text.as_bytes(), &mut out),
                None => out.extend_from_slice(b"NULL"),
            }
        }
        out.extend_from_slice(b"}");
        let mut read = Vec::new();
        array::parse_elements(std::str::from_utf8(&out).unwrap(), |item| {
            read.push(item.map(str::to_string));
            Ok(())
        }).unwrap();
        prop_assert_eq!(read, items);
    }
}
