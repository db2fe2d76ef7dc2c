//! Chat templates against Transformers: our own templates, and published ones where they are at hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use jielong_text::{ChatTemplate, Message, TemplateInput};
use serde_json::{Map, Value};

/// Renders every case of an oracle; the names of those that differ, and how many there were.
fn check(oracle: &Value) -> (Vec<String>, usize) {
    let now = oracle["now"].as_str().unwrap().parse().unwrap();
    let (mut differ, mut count) = (Vec::new(), 0);
    for (name, template) in oracle["templates"].as_object().unwrap() {
        let chat = ChatTemplate::new(template["template"].as_str().unwrap(), name);
        for (case, expected) in template["cases"].as_object().unwrap() {
            count += 1;
            let mut variables: Map<String, Value> = oracle["conversations"][case].as_object().unwrap().clone();
            let messages: Vec<Message> = serde_json::from_value(variables.remove("messages").unwrap()).unwrap();
            let tools = variables.remove("tools");
            let mut flag = |name: &str| variables.remove(name).is_some_and(|v| v == true);
            let (add_generation_prompt, continue_final_message) =
                (flag("add_generation_prompt"), flag("continue_final_message"));
            let input = TemplateInput {
                messages: &messages,
                tools: tools.as_ref(),
                add_generation_prompt,
                continue_final_message,
                now: Some(now),
                specials: oracle["special"].as_object().unwrap().clone(),
                variables,
            };
            let got = chat.clone().and_then(|chat| chat.render(&input));
            let same = match (&got, expected["ok"].as_str()) {
                (Ok(got), Some(expected)) => got == expected,
                (Err(_), None) => true,
                _ => false,
            };
            if !same {
                let report = format!("{name}/{case}:\n   got {got:?}\nwanted {expected}");
                differ.push(report);
            }
        }
    }
    (differ, count)
}

fn check_file(path: &Path) -> usize {
    let oracle: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (differ, count) = check(&oracle);
    assert!(differ.is_empty(), "{} of {count} differ:\n{}", differ.len(), differ.join("\n"));
    count
}

#[test]
fn our_templates_render_as_in_transformers() {
    let count = check_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/templates.json"));
    println!("{count} cases equal");
}

#[test]
fn published_templates_render_as_in_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle/chat-templates.json");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    println!("{} cases equal", check_file(&path));
}

#[test]
fn a_wider_check_where_an_oracle_is_named() {
    let Ok(path) = std::env::var("JIELONG_TEMPLATE_ORACLE") else {
        println!("skipped: JIELONG_TEMPLATE_ORACLE does not name a file of scripts/make_template_oracle.py");
        return;
    };
    println!("{} cases equal", check_file(Path::new(&path)));
}
