//! The docs say what is.

use super::support::root;
use hypertile::trial::words::parse;

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a page.
fn blocks(text: &str) -> Vec<String> {
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').map_or("", |(_, body)| body).to_string())
        .collect()
}

#[test]
fn every_example_of_the_scenario_page_is_a_scenario() {
    let examples: Vec<String> =
        blocks(&page("docs/scenario_format.md")).into_iter().filter(|block| !block.contains("hypertile run")).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        parse("docs/scenario_format.md", &example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

#[test]
fn the_scenario_of_the_front_page_is_one() {
    let blocks = blocks(&page("README.md"));
    let scenario = blocks.iter().find(|block| block.contains("\ncluster ")).expect("the README shows a scenario");
    let scenario = parse("README.md", scenario).unwrap_or_else(|error| panic!("{error}"));
    assert!(scenario.steps.len() >= 4, "{scenario:?}");
}

/// Not only in prose: in an example that the test above has parsed, or in a table of forms.
#[test]
fn every_directive_and_checker_is_documented() {
    let text = page("docs/scenario_format.md");
    let examples = blocks(&text).join("\n");
    for (checker, _) in hypertile::trial::checker::ALL {
        assert!(text.contains(&format!("| `{checker}` |")), "checker {checker} is not on the page");
    }
    for word in [
        "cluster ",
        "buggify ",
        "nemesis ",
        "advance ",
        "eventually ",
        "background ",
        "await ",
        "check ",
        "snapshot ",
        "workload ",
    ] {
        let example = examples.lines().any(|line| line.starts_with(word));
        assert!(example || text.contains(&format!("\n| `{word}")), "directive {word} is not on the page");
    }
}
