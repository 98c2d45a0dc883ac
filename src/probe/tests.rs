//! What a hook gets to hear.

use super::*;
use std::rc::Rc;

struct Node;

impl Node {
    fn name(&self) -> &str {
        "dn1"
    }
}

#[test]
fn a_detail_is_written_out_only_where_a_hook_listens() {
    let (node, seen) = (Node, Rc::new(RefCell::new(Vec::new())));
    let written = RefCell::new(0);
    let subject = || {
        *written.borrow_mut() += 1;
        "1-7"
    };
    probe!(node, "test.passed", subject());
    assert_eq!(*written.borrow(), 0);

    let listener = seen.clone();
    set_hook(Some(Box::new(move |node, name, detail| {
        listener.borrow_mut().push(format!("{node} {name} {detail}"));
    })));
    probe!(node, "test.passed", format_args!("{} on {}", subject(), "dn2"));
    probe!(node, "test.passed");
    set_hook(None);
    probe!(node, "test.passed", subject());
    assert_eq!(*seen.borrow(), ["dn1 test.passed 1-7 on dn2", "dn1 test.passed "]);
    assert_eq!(*written.borrow(), 1);
}
