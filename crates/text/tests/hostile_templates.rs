//! Templates that mean harm end soon, with little memory, and say why.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use jielong_text::{ChatTemplate, Message, TemplateError, TemplateInput};

/// Peak resident memory of this process, in bytes, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

fn render(source: &str, content: &str) -> Result<String, TemplateError> {
    let messages = [Message::user(content)];
    let input = TemplateInput { messages: &messages, add_generation_prompt: true, ..TemplateInput::default() };
    ChatTemplate::new(source, "chat_template.jinja")?.render(&input)
}

#[test]
fn hostile_templates_end_soon() {
    let deep = |open: &str, middle: &str, close: &str, n: usize| open.repeat(n) + middle + &close.repeat(n);
    let hostile = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}".into(),
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}".into(),
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}".into(),
        "{% set ns = namespace(s=['x']) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}".into(),
        "{% set ns = namespace(s={}) %}{% for i in range(100000) %}{% set ns.s = {'a': ns.s} %}{% endfor %}{{ ns.s | tojson }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s == ns.s }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}".into(),
        "{% set ns = namespace(s=[1, 2, 3]) %}{% for i in range(100000) %}{% set ns.s = ns.s * 1 %}{% endfor %}{{ ns.s | length }}".into(),
        "{% set ns = namespace(s=[1, 2, 3]) %}{% for i in range(40) %}{% set ns.s = ns.s * 2 %}{% endfor %}{{ ns.s | list }}".into(),
        "{% set ns = namespace(s=[1, 2, 3]) %}{% for i in range(100000) %}{% set ns.s = ns.s | reverse %}{% endfor %}{{ ns.s | list }}".into(),
        "{% set ns = namespace(s=[1, 2, 3]) %}{% for i in range(100000) %}{% set ns.s = ns.s | map('string') %}{% endfor %}{{ ns.s | list }}".into(),
        "{% set ns = namespace(s={'a': 1}) %}{% for i in range(100000) %}{% set ns.s = dict(ns.s) %}{% endfor %}{{ ns.s }}".into(),
        "{% set ns = namespace(l=[]) %}{% set s = 'x ' * 250000 %}{% for i in range(1000) %}{% set ns.l = ns.l + [s.split()] %}{% endfor %}".into(),
        "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = ns.l + [range(100000) | list] %}{% endfor %}".into(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into(),
        "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".into(),
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".into(),
        "{{ 'x' * 1000000000 }}".into(),
        "{{ ('x' * 100000) * 100000 }}".into(),
        "{{ [1] * 1000000000 }}".into(),
        "{{ 'a'.center(1000000000) }}".into(),
        "{{ 'a'.zfill(1000000000) }}".into(),
        "{{ 'a' | center(1000000000) }}".into(),
        "{{ 'a' | indent(1000000000, true) }}".into(),
        "{{ '%1000000000d' % 3 }}".into(),
        "{{ '%1000000000d' | format(3) }}".into(),
        "{{ '%*d' % (1000000000, 3) }}".into(),
        "{{ '{:1000000000}'.format(3) }}".into(),
        "{{ '{:{}}'.format(3, 1000000000) }}".into(),
        "{{ ('x' * 3000).replace('', 'y' * 3000) }}".into(),
        "{{ ('x' * 3000) | replace('x', 'y' * 300000) }}".into(),
        "{{ ('y' * 30000).join(range(30000) | map('string')) }}".into(),
        "{{ range(100000) | map('string') | join('y' * 30000) }}".into(),
        "{{ [range(100000) | list] * 1000 | tojson(indent=1000) }}".into(),
        "{{ range(99999) | list | tojson(indent=1000) }}".into(),
        "{{ 2 ** 100000000 }}".into(),
        "{{ (range(100000) | list | sort) + (range(100000) | list | sort) }}{{ range(100000) | list | unique | list }}".into(),
        "{% set s = 'x' * 500000 %}{% for i in range(100000) %}{% set t = s.strip() %}{% endfor %}".into(),
        "{% set s = 'x' * 500000 %}{% for i in range(100000) %}{{ s.find('zz') }}{% endfor %}".into(),
        "{% for i in range(100000) %}{{ 'abcdefghijklmnopqrstuvwxyz' * 100 }}{% endfor %}".into(),
        "{{ messages[0].content * 100000 }}".into(),
        "{{ ".to_owned() + &deep("(", "1", ")", 5000) + " }}",
        "{{ ".to_owned() + &deep("[", "1", "]", 5000) + " }}",
        "{{ ".to_owned() + &"not ".repeat(5000) + "1 }}",
        "{{ ".to_owned() + &"-".repeat(5000) + "1 }}",
        deep("{% if true %}", "x", "{% endif %}", 5000),
        deep("{% for x in [1] %}", "x", "{% endfor %}", 5000),
        "{{ 1".to_owned() + &" + 1".repeat(100_000) + " }}",
        "{{ 'a'".to_owned() + &" ~ 'a'".repeat(100_000) + " }}",
        "{{ x".to_owned() + &".x".repeat(100_000) + " }}",
        "{{ '%s'".to_owned() + &" % '%s'".repeat(50_000) + " }}",
        "{{ x".to_owned() + &"|safe + x".repeat(50_000) + " }}",
        "{{ 1 }}".repeat(100_000),
    ];
    for source in hostile {
        let (start, before) = (Instant::now(), peak());
        let result = render(&source, "hello");
        let (took, after) = (start.elapsed(), peak());
        let grown = after.zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        let what = source.chars().take(100).collect::<String>();
        println!(
            "{took:>8.1?} {:>4} MiB  {:60.60}  {what}",
            grown >> 20,
            result.as_ref().map_or_else(ToString::to_string, |t| format!("{} bytes", t.len()))
        );
        assert!(took < Duration::from_secs(1), "{what} took {took:?}");
        assert!(grown < 64 << 20, "{what} took {grown} bytes");
    }
}

#[test]
fn errors_name_template_and_line() {
    let error = |source: &str| render(source, "hello").unwrap_err();
    let fuel = error("line one\n{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}");
    assert_eq!((fuel.name.as_str(), fuel.line), ("chat_template.jinja", Some(2)));
    assert!(fuel.to_string().contains("out of fuel"), "{fuel}");
    let long = error("{% for a in range(20) %}{{ 'x' * 100000 }}{% endfor %}");
    assert!(long.message.contains("1048576"), "{long}");
    let raised = error("\n\n{{ raise_exception('no system role') }}");
    assert_eq!(raised.to_string(), "chat_template.jinja, line 3: no system role");
    let undefined = error("\n{{ nothing.at.all }}");
    assert_eq!(undefined.line, Some(2));
    assert!(undefined.message.contains("nothing"), "{undefined}");
    assert_eq!(error("a\nb\n{% if %}").line, Some(3));
    for tag in ["include 'x'", "import 'x' as y", "from 'x' import y", "extends 'x'", "include 'chat_template.jinja'"] {
        let error = error(&format!("\n{{% {tag} %}}"));
        assert_eq!(error.line, Some(2));
        assert!(error.message.contains("not allowed"), "{error}");
    }
    assert_eq!(render("{{ messages[0].content }}", &"x".repeat(1 << 20)).unwrap().len(), 1 << 20);
    assert!(error("{% set x = messages.append(1) %}").message.contains("append"));
}
