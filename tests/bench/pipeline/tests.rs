use super::*;

#[test]
fn a_line_is_a_row() {
    let read = row(r#"{"path":"weir-cross","metric":"instructions","value":91234.5}"#).unwrap();
    assert_eq!(
        (read.work, read.path),
        (Work::L7Pipeline, PathKind::WeirCross)
    );
    assert_eq!((read.metric, read.value), ("instructions", 91_234.5));
    let line = r#"{"path":"weir-cross","feature":"fallback","metric":"allocations","value":31}"#;
    let read = row(line).unwrap();
    assert_eq!(read.work, Work::L7Features);
    assert_eq!(read.feature.as_deref(), Some("fallback"));
    // What the table would not show is an error, not a gap.
    row(r#"{"path":"weir-cross","metric":"cycles","value":1}"#).unwrap_err();
    row("no valgrind here").unwrap_err();
}
