use super::*;
use crate::error::Error;
use crate::sql::types::field;
use arrow::datatypes::Schema;
use postgres_types::Type;
use proptest::prelude::*;
use std::sync::Arc;

fn schema(columns: &[(&str, Type)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, ty)| field(name, ty, true).unwrap()).collect::<Vec<_>>()))
}

fn two_columns() -> SchemaRef {
    schema(&[("id", Type::INT4), ("name", Type::TEXT)])
}

fn decode_pieces(schema: &SchemaRef, options: &CopyOptions, pieces: &[&[u8]]) -> Result<Vec<RecordBatch>> {
    let mut decoder = CopyDecoder::new(schema.clone(), options.clone(), Format::default(), "t");
    let mut batches = Vec::new();
    for piece in pieces {
        batches.extend(decoder.push(&Bytes::copy_from_slice(piece))?);
    }
    batches.extend(decoder.finish()?);
    Ok(batches)
}

/// Rows as text, NULL as `None`, whatever the pieces were.
fn decode(schema: &SchemaRef, options: &CopyOptions, input: &str) -> Vec<Vec<Option<String>>> {
    let whole = rows_of(&decode_pieces(schema, options, &[input.as_bytes()]).unwrap());
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    assert_eq!(rows_of(&decode_pieces(schema, options, &bytes).unwrap()), whole, "byte by byte");
    whole
}

fn rows_of(batches: &[RecordBatch]) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
                let mut out = BytesMut::new();
                let shown = crate::wire::values::write_text(column, field, row, &Format::default(), &mut out).unwrap();
                shown.then(|| String::from_utf8(out.to_vec()).unwrap())
            });
            rows.push(values.collect());
        }
    }
    rows
}

fn failure(options: &CopyOptions, input: &str) -> Error {
    decode_pieces(&two_columns(), options, &[input.as_bytes()]).expect_err(input)
}

fn row(values: &[Option<&str>]) -> Vec<Option<String>> {
    values.iter().map(|v| v.map(str::to_string)).collect()
}

#[test]
fn text_understands_escapes_nulls_and_the_end_marker() {
    let rows = decode(
        &two_columns(),
        &CopyOptions::new(CopyFormat::Text),
        "1\ta\\tb\\\\c\r\n\\N\t\n2\t\\N\n3\tone\\\ntwo\n4\t\\x41\\102\n5\tlast\n\\.\nignored",
    );
    assert_eq!(
        rows,
        vec![
            row(&[Some("1"), Some("a\tb\\c")]),
            row(&[None, Some("")]),
            row(&[Some("2"), None]),
            row(&[Some("3"), Some("one\ntwo")]),
            row(&[Some("4"), Some("AB")]),
            row(&[Some("5"), Some("last")]),
        ]
    );
}

#[test]
fn csv_understands_quotes_newlines_and_header() {
    let options = CopyOptions { header: true, ..CopyOptions::new(CopyFormat::Csv) };
    let rows =
        decode(&two_columns(), &options, "id,name\n1,\"a,b\"\"c\"\n2,\n3,\"\"\n4,\"one\ntwo\"\r\n5,x\"y,z\"w\n6,end");
    assert_eq!(
        rows,
        vec![
            row(&[Some("1"), Some("a,b\"c")]),
            row(&[Some("2"), None]),
            row(&[Some("3"), Some("")]),
            row(&[Some("4"), Some("one\ntwo")]),
            row(&[Some("5"), Some("xy,zw")]),
            row(&[Some("6"), Some("end")]),
        ]
    );
}

#[test]
fn csv_takes_other_quotes_escapes_and_nulls() {
    let options = CopyOptions {
        delimiter: b';',
        quote: b'\'',
        escape: b'\\',
        null: "NULL".into(),
        ..CopyOptions::new(CopyFormat::Csv)
    };
    let rows = decode(&two_columns(), &options, "1;'it\\'s; \\\\ \\n'\nNULL;'NULL'\n2;\n");
    assert_eq!(
        rows,
        vec![row(&[Some("1"), Some("it's; \\ \\n")]), row(&[None, Some("NULL")]), row(&[Some("2"), Some("")]),]
    );
}

#[test]
fn malformed_rows_name_table_line_and_column() {
    let (text, csv) = (CopyOptions::new(CopyFormat::Text), CopyOptions::new(CopyFormat::Csv));
    let cases = [
        (&text, "1\ta\n2\n", "22P04", "missing data for column \"name\"", "COPY t, line 2: \"2\""),
        (&text, "1\ta\tb\n", "22P04", "extra data after last expected column", "COPY t, line 1: \"1\ta\tb\""),
        (
            &text,
            "1\ta\nx\tb\n",
            "22P02",
            "invalid input syntax for type integer: \"x\"",
            "COPY t, line 2, column id: \"x\"",
        ),
        (&csv, "1,\"a\nb\"\n2,c,d\n", "22P04", "extra data after last expected column", "COPY t, line 3: \"2,c,d\""),
        (&csv, "1,\"a\n", "22P04", "unterminated CSV quoted field", "COPY t, line 1"),
        (&text, "1\ta\rb\n", "22P04", "literal carriage return found in data", "COPY t, line 1: \"1\ta\rb\""),
    ];
    for (options, input, code, message, detail) in cases {
        let error = failure(options, input);
        assert_eq!(
            (error.code().as_str(), error.message(), error.detail()),
            (code, message, Some(detail)),
            "{input:?}"
        );
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let error =
        decode_pieces(&two_columns(), &CopyOptions::new(CopyFormat::Text), &[b"1\t\xff\n"]).expect_err("not UTF-8");
    assert_eq!(error.code().as_str(), "22021");
}

#[test]
fn binary_needs_its_signature_and_its_trailer() {
    let options = CopyOptions::new(CopyFormat::Binary);
    let error = decode_pieces(&two_columns(), &options, &[b"1\ta\n"]).unwrap_err();
    assert_eq!(error.message(), "COPY file signature not recognized");
    let mut encoder = CopyEncoder::new(two_columns(), options.clone(), Format::default());
    let header = encoder.header().unwrap();
    let error = decode_pieces(&two_columns(), &options, &[&header]).unwrap_err();
    assert_eq!(error.message(), "unexpected EOF in COPY data");
    assert!(decode_pieces(&two_columns(), &options, &[&header, &encoder.trailer()]).unwrap().is_empty());
    let error = decode_pieces(&two_columns(), &options, &[&header, b"\0\x01\0\0\0\0"]).unwrap_err();
    assert_eq!(error.message(), "row field count is 1, expected 2");
}

#[test]
fn a_row_without_end_is_refused_before_it_fills_the_memory() {
    let mut decoder = CopyDecoder::new(two_columns(), CopyOptions::new(CopyFormat::Text), Format::default(), "t");
    let piece = Bytes::from(vec![b'x'; 8 << 20]);
    let error = (0..20).find_map(|_| decoder.push(&piece).err()).expect("must be refused");
    assert_eq!(error.code().as_str(), "54000");
}

#[test]
fn batches_are_bounded_by_rows() {
    let input: String = (0..20_000).map(|i| format!("{i}\tname\n")).collect();
    let batches = decode_pieces(&two_columns(), &CopyOptions::new(CopyFormat::Text), &[input.as_bytes()]).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), vec![8192, 8192, 3616]);
}

#[test]
fn rows_can_be_sent_one_a_message() {
    let batches = decode_pieces(&two_columns(), &CopyOptions::new(CopyFormat::Text), &[b"1\ta\n2\tb\n"]).unwrap();
    let mut encoder = CopyEncoder::new(two_columns(), CopyOptions::new(CopyFormat::Text), Format::default());
    let rows = encoder.encode_rows(&batches[0]).unwrap();
    assert_eq!(rows.iter().map(|c| c.bytes.as_ref()).collect::<Vec<_>>(), vec![b"1\ta\n", b"2\tb\n"]);
}

fn option_sets() -> Vec<CopyOptions> {
    let csv = CopyOptions::new(CopyFormat::Csv);
    vec![
        CopyOptions::new(CopyFormat::Text),
        CopyOptions { delimiter: b'|', null: "~".into(), header: true, ..CopyOptions::new(CopyFormat::Text) },
        csv.clone(),
        CopyOptions { header: true, escape: b'\\', quote: b'\'', null: "nil".into(), ..csv },
        CopyOptions::new(CopyFormat::Binary),
    ]
}

fn any_row() -> impl Strategy<Value = (Option<i32>, Option<String>, Option<f64>, Option<i64>)> {
    let text = "([a-cN.\\\\\"',|\t\n\r]|il|nil|ä){0,6}";
    let moment = 0_i64..4_000_000_000_000_000;
    (any::<Option<i32>>(), proptest::option::of(text), proptest::option::of(-1e9..1e9), proptest::option::of(moment))
}

proptest! {
    #[test]
    fn what_is_encoded_and_cut_anywhere_decodes_to_the_same(
        rows in proptest::collection::vec(any_row(), 0..12),
        cuts in proptest::collection::vec(1_usize..40, 0..40),
    ) {
        use arrow::array::{Float64Array, Int32Array, StringArray, TimestampMicrosecondArray, ArrayRef};
        let schema = schema(&[
            ("id", Type::INT4), ("na,me", Type::TEXT), ("x", Type::FLOAT8), ("at", Type::TIMESTAMPTZ),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| r.3).collect::<TimestampMicrosecondArray>().with_timezone("+00:00")),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        for options in option_sets() {
            let mut encoder = CopyEncoder::new(schema.clone(), options.clone(), Format::default());
            let mut bytes = encoder.header().unwrap().to_vec();
            bytes.extend_from_slice(&encoder.encode(&batch).unwrap());
            bytes.extend_from_slice(&encoder.trailer());
            let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
            for cut in &cuts {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let decoded = decode_pieces(&schema, &options, &pieces).unwrap();
            let expected = if rows.is_empty() { vec![] } else { vec![batch.clone()] };
            prop_assert_eq!(decoded, expected, "{:?}", options);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), signed in any::<bool>()) {
        for options in option_sets() {
            let mut input = Vec::new();
            if signed {
                input.extend_from_slice(binary::SIGNATURE);
                input.extend_from_slice(&[0; 8]);
            }
            input.extend_from_slice(&bytes);
            let _ = decode_pieces(&two_columns(), &options, &[&input]);
        }
    }
}
