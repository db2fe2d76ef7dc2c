#!/usr/bin/env python3
"""make_template_oracle.py OUT.json [--templates DIR] -- chat templates rendered by Transformers itself.

Without --templates: our own small templates below, one for each group of features, for tests/oracle/templates.json.
With it: every *.jinja in DIR instead, for a wider check that is not kept. Cases that end in a Python TypeError,
SecurityError or the like are left out: only refusals by the template itself and by Jinja2 are a reference.
"""
import argparse, datetime, json, os, pathlib
os.environ["HF_HUB_OFFLINE"] = "1"
import jinja2
import transformers as T
import transformers.utils.chat_template_utils as CT

OURS = {
 "plain": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
 "blocks": """{#- a comment -#}
{%- for m in messages %}
    {%- if m.role == "user" %}
  user: {{ m.content }}
    {%+ elif m.role == "assistant" %}
        {% generation %}
  {{- " bot: " }}{{ m.content -}}
        {% endgeneration %}
    {% else %}
  other
    {% endif +%}
    # tail {# inline #} end
{% endfor %}
{% raw %}{{ not a tag }} {% x %}
{% endraw %}
   {%- set x = 1 %}
 {{- x }}
{% if true -%}   trimmed   {%- endif %}

last line
""",
 "values": """{{ none }}|{{ true }}|{{ false }}|{{ 1 }}|{{ 1.0 }}|{{ 1e20 }}|{{ 1.5e-7 }}|{{ 7 / 2 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 2 ** 10 }}|{{ 0.1 + 0.2 }}
{{ [1, 'a', none, true, 2.0, [], {}] }}|{{ {'k': 'v', 'n': [1]} }}|{{ (1,) }}|{{ ('a', "it's") }}|{{ 'say "hi"' }}
{{ messages[0] }}|{{ messages[0].nothing }}|{{ nothing }}|{{ nothing is defined }}|{{ 'a' ~ 1 ~ none ~ true ~ 1.5 }}|{{ 'a' 'b' }}|{{ 'x' * 3 }}
{{ 1 == 1.0 }}|{{ 'a' < 'b' }}|{{ 1 < 2 < 3 }}|{{ 'b' in 'abc' }}|{{ 'q' not in ['a'] }}|{{ not 0 }}|{{ '' or 'default' }}|{{ 0 and 1 }}|{{ 'a' if false }}|{{ 'a' if nothing else 'b' }}
{{ "tab\\there \\u00e9 \\x41 \\d \\\\ \\'" }}|{{ 'ab\\ncd' }}|{{ "%s is %d or %5.2f%%" % ('x', 3, 2.5) }}|{{ '%s' % [1, 'a'] }}
{{ 10 | string }}|{{ [1, 2] | string }}|{{ {'a': none} | string }}|{{ 3.0 | int }}|{{ '42' | int + 1 }}|{{ 'x' | int(7) }}|{{ '3.5' | float }}|{{ 'ff' | int(base=16) }}
""",
 "tests": """{% for v in [none, true, 1, 1.5, 'a', [1], {'a': 1}, (1, 2)] -%}
{{ v is none }} {{ v is boolean }} {{ v is number }} {{ v is integer }} {{ v is float }} {{ v is string }} {{ v is mapping }} {{ v is sequence }} {{ v is iterable }} {{ v is callable }} {{ v is defined }} {{ v is true }} {{ v is not false }} {{ v is sameas none }}
{% endfor %}{{ nothing is undefined }} {{ nothing is none }} {{ nothing is iterable }} {{ nothing is sequence }} {{ nothing is string }} {{ messages[0].items is callable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 'a' is in ['a'] }} {{ 'abc' is eq 'abc' }} {{ 2 is gt 1 }} {{ 1 is ne 2 }} {{ 'a' is lower }} {{ 'A' is upper }}""",
 "methods": """{% set s = '  Hello, wörld! Hello?  ' %}[{{ s.strip() }}][{{ s.lstrip() }}][{{ s.rstrip() }}][{{ 'xxaxx'.strip('x') }}][{{ s.upper() }}][{{ s.lower() }}][{{ s.title() }}][{{ 'élan vital'.capitalize() }}]
{{ s.split() }}|{{ 'a,b,,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a b c'.rsplit(' ', 1) }}|{{ 'a  b c '.split(maxsplit=1) }}|{{ 'a\\nb\\r\\nc\\n'.splitlines() }}|{{ 'a\\nb'.splitlines(true) }}
{{ s.startswith('  H') }} {{ s.endswith(('?', '  ')) }} {{ s.find('Hello') }} {{ s.rfind('Hello') }} {{ s.find('zz') }} {{ s.count('l') }} {{ s.replace('Hello', 'Bye') }} {{ s.replace('l', 'L', 2) }} {{ s.index('w') }}
{{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'ab'.center(5, '*') }} {{ 'ab'.center(7) }}
{{ '-'.join(['a', 'b']) }} {{ '{} and {1} {x}'.replace('{} and {1} {x}', 'f') }} {{ '{}-{}'.format(1, 'b') }} {{ '{x:>4}|{0:.2f}'.format(2.5, x='r') }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'aB'.swapcase() }} {{ ''.isdigit() }} {{ 'Ab Cd'.istitle() }}
{{ 'abcdef'[1:3] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[4:1:-2] }} {{ 'abc'[0] }} {{ 'abc'[-1] }} {{ [1, 2, 3, 4][::-1] }} {{ [1, 2, 3, 4][1:] }} {{ [1, 2, 3][:-1] }} {{ [1, 2, 3][-1] }} {{ [1, 2] + [3] }} {{ ([1, 2, 3][1:])[0] }} {{ [1, 2, 3][1:] | length }}
{% set d = {'items': 1, 'b': [2], 'get': none} %}{{ d.items() | list }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d['items'] }} {{ d.keys() | list }} {{ d.values() | list }} {{ d | items | list }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {{ 'b' in d }} {{ d | length }} {{ [3, 1, 3].count(3) }} {{ [3, 1].index(1) }} {{ 'x' in d.keys() }}
{{ messages[0].get('content') }} {{ messages[0].items() | list }} {{ (messages | first).get('zz', 'none') }}""",
 "filters": """{{ ' a ' | trim }}|{{ 'xay' | trim('xy') }}|{{ nothing | trim }}|{{ 'aXb' | upper }}|{{ 'aXb' | lower }}|{{ 'the-big (old) one' | title }}|{{ 'HELLO you' | capitalize }}|{{ 'a-b-c' | replace('-', '+') }}|{{ 'a-b-c' | replace('-', '+', 1) }}
{{ [1, 2] | length }}|{{ 'héé' | length }}|{{ nothing | length }}|{{ [3, 1, 2] | sort }}|{{ ['b', 'A', 'c'] | sort }}|{{ [3, 1] | sort(reverse=true) }}|{{ [1, 2, 3] | join(', ') }}|{{ ['a', none] | join }}|{{ [1, 2] | first }}|{{ [1, 2] | last }}|{{ [] | first }}|{{ [[1, 2], [3]] | sum(start=[]) }}|{{ [1, 2] | sum }}|{{ [1, 1, 2] | unique | list }}|{{ [1, 2, 3] | reverse | list }}|{{ 'abc' | reverse }}|{{ 'abc' | list }}|{{ {'b': 1, 'a': 2} | dictsort }}|{{ {'b': 1, 'a': 2} | list }}|{{ [1, 5, 2] | max }}|{{ [4, 5, 2] | min }}
{{ nothing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | default('d') }}|{{ none | default('d', boolean=true) }}|{{ '<a href="x">&\\'' | e }}|{{ '<b>' | safe }}|{{ 'l1\\nl2\\n\\nl3' | indent }}|{{ 'l1\\nl2' | indent(2, true) }}|{{ 'l1\\nl2' | indent(width=2, first=True) }}|{{ 'a b c' | wordcount }}|{{ 2.567 | round(2) }}|{{ 2.5 | round }}|{{ -3 | abs }}|{{ 'ab' | center(6) }}|{{ '%s!' | format('hey') }}
{{ messages | map(attribute='role') | list }}|{{ messages | map('length') | list }}|{{ ['a', 'b'] | map('upper') | join('') }}|{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | join(',') }}|{{ [1, none, 2] | select | list }}|{{ [1, 2, 3] | select('odd') | list }}|{{ [1, 2, 3] | reject('odd') | list }}|{{ [1, 2, 3, 4, 5] | batch(2) | list }}|{{ [1, 2, 3] | slice(2) | list }}|{{ messages | selectattr('content', 'defined') | list | length }}|{{ messages | groupby('role') | map(attribute='grouper') | list }}""",
 "json": """{{ messages | tojson }}
{{ {'b': [1, 2.0, none, true], 'a': 'é"\\\\\\n<>&'} | tojson }}
{{ {'b': 1, 'a': {}} | tojson(sort_keys=true) }}|{{ {'b': 1, 'a': [], 'c': [1, {'x': 2}]} | tojson(indent=2) }}|{{ [1, 2] | tojson(separators=(',', ':')) }}|{{ 'é🙂' | tojson(ensure_ascii=true) }}|{{ [1] | tojson(indent=0) }}|{{ {'a': 1} | tojson(indent='\\t') }}|{{ none | tojson }}|{{ 'x' | tojson }}|{{ 1e16 | tojson }}|{{ 12345678901234567890 | tojson }}|{{ [1, 2][:1] | tojson }}|{{ (1, 'a') | tojson }}
{%- if tools %}{% for t in tools %}
{{ t | tojson(indent=4) }}{{ t.function.parameters.properties | length }}{% for name, p in t.function.parameters.properties.items() %} {{ name }}:{{ p.type }}{% if p.enum is defined %}={{ p.enum | join('|') }}{% endif %}{% if name in t.function.parameters.required %}*{% endif %}{% endfor %}{% endfor %}{% endif %}""",
 "scopes": """{% set ns = namespace(found=false, n=0) %}{% set x = 'outer' %}{% for m in messages %}{% set x = 'inner' %}{% set ns.n = ns.n + 1 %}{% if m.role == 'assistant' %}{% set ns.found = true %}{% endif %}{% if loop.first %}first {% endif %}{% if loop.last %}last {% endif %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.cycle('odd', 'even') }} {{ loop.previtem.role if loop.previtem is defined }} {{ loop.nextitem.role if not loop.last }}
{% else %}nobody{% endfor %}{{ x }} {{ ns.found }} {{ ns.n }}
{% macro say(who, what='hm', loud=false) %}{{ who }}: {{ what | upper if loud else what }}{% endmacro %}{{ say('a') }} {{ say('b', 'yo', loud=true) }} {{ say(what='w', who='c') }}
{%- macro tree(v, depth=0) -%}{% if v is mapping %}{ {%- for k, w in v.items() %}{{ k }}:{{ tree(w, depth + 1) }}{% endfor -%} }{% elif v is iterable and v is not string %}[{% for w in v %}{{ tree(w, depth + 1) }},{% endfor %}]{% else %}{{ v }}@{{ depth }}{% endif %}{%- endmacro %}
{{ tree(messages) }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}bold {{ x }}{% endcall %}
{% set body %}captured {{ messages | length }}{% endset %}[{{ body }}]{% filter upper %}shout {{ x }}{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in range(6, 0, -2) %}{{ i }}{% endfor %} {% for i in [1, 2, 3, 4] if i is even %}{{ i }}{% endfor %} {% for a, b in [(1, 2), (3, 4)] %}{{ a * b }} {% endfor %}{% for c in 'abc' %}{{ c }}.{% endfor %}{% for k in {'q': 1} %}{{ k }}{% endfor %}
{% set a, b = 1, 'two' %}{{ a }}{{ b }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ system }}{{ rest | length }}{{ (rest[0] | default({})).role }}{% generation %}{% set x = 'hidden' %}gen{% endgeneration %}{{ x }}{% for item in [[1, [2, [3]]]] recursive %}{{ item if item is number else loop(item) }} {% endfor %}{{ dict(a=1, b='c') }}""",
 "refuses": """{% if messages[0].role == 'system' and messages | length > 1 %}{{ raise_exception('system is ' ~ 'not allowed') }}{% elif tools %}{{ tools.nothing.at_all }}{% elif enable_thinking is defined and not enable_thinking %}{{ messages[0].content | no_such_filter }}{% else %}{{ messages[-1].content }} {{ strftime_now('%d %b %Y %H:%M:%S %A %-d %j %p') }}{% endif %}""",
 "parts": """{% for m in messages %}[{{ m.role }}] {% if m.content is string %}{{ m.content | trim }}{% elif m.content %}{% for p in m.content %}{% if p.type == 'text' %}{{ p['text'] | trim }}{% else %}<{{ p.type }}>{% endif %}{% endfor %}{% endif %}{% if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %} call {{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{% endif %}{% if m.reasoning_content %} thought: {{ m.reasoning_content }}/{{ m.thinking }}{% endif %}
{% endfor %}{{ documents }}""",
 "think": """{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}<|assistant|>{{ c }}<|end|>{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}""",
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather of a \"city\" — now.", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}, "unit": {"type": "string", "enum": ["c", "f"]}, "items": {"type": "array", "items": {"type": "integer"}}}, "required": ["city"]}}}]
U, S, A = (lambda role: lambda c, **k: {"role": role, "content": c, **k})("user"), (lambda c: {"role": "system", "content": c}), (lambda c, **k: {"role": "assistant", "content": c, **k})
CALL = A("", tool_calls=[{"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "items": [1, 2.5, None]}}}])
CONV = {
 "user": dict(messages=[U("Hi there")], add_generation_prompt=True),
 "system": dict(messages=[S("Be brief."), U("Hi there")], add_generation_prompt=True),
 "turns": dict(messages=[S(" Be 'brief'.\n"), U("1+1?"), A("<think>\nhm\n</think>\n\n2"), U("And 2+2?\n<b>Think</b> \"well\" & é🙂. ")], add_generation_prompt=True),
 "prefill": dict(messages=[U("Name a fruit."), A("Sure: an app")], continue_final_message=True),
 "prefill_blank": dict(messages=[U("Name a fruit."), A(" Sure: an \n")], continue_final_message=True),
 "parts": dict(messages=[U([{"type": "text", "text": " What is this? "}, {"type": "image"}, {"type": "text", "text": "Say."}]), A([{"type": "text", "text": "A cat"}])], continue_final_message=True),
 "tools": dict(messages=[U("Weather?")], tools=TOOLS, add_generation_prompt=True),
 "results": dict(messages=[U("Weather?"), CALL, {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": "{\"t\": 4}"}], tools=TOOLS, add_generation_prompt=True),
 "reasoning": dict(messages=[U("Hi"), A("Hello", reasoning="They greet."), U("Bye")], add_generation_prompt=True),
 "no_think": dict(messages=[U("Hi there")], add_generation_prompt=True, enable_thinking=False),
 "documents": dict(messages=[U("Hi")], documents=[{"title": "T", "text": "it's text"}], add_generation_prompt=True),
}
SPECIAL = dict(bos_token="<BOS>", eos_token="<EOS>", pad_token="<PAD>", unk_token="<UNK>")


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 5, 15, 4, 9, tzinfo=tz)


CT.datetime = Frozen
args = argparse.ArgumentParser()
args.add_argument("out")
args.add_argument("--templates")
args = args.parse_args()
templates = OURS
if args.templates:
    templates = {p.stem: p.read_text() for p in sorted(pathlib.Path(args.templates).glob("*.jinja"))}
result, rendered, refused, left_out = {}, 0, 0, 0
for name, source in templates.items():
    cases = {}
    for case, settings in CONV.items():
        settings = json.loads(json.dumps(settings))
        messages = settings.pop("messages")
        try:
            text, _ = CT.render_jinja_template(conversations=[messages], chat_template=source, **settings, **SPECIAL)
            cases[case], rendered = dict(ok=text[0]), rendered + 1
        except (jinja2.exceptions.SecurityError, TypeError, AttributeError, OverflowError) as e:
            left_out += 1
            print("left out", name, case, type(e).__name__, e)
        except Exception as e:
            cases[case], refused = dict(error=f"{type(e).__name__}: {e}"[:200]), refused + 1
    result[name] = dict(template=source, cases=cases)
now = Frozen.now().isoformat()
oracle = dict(transformers=T.__version__, jinja2=jinja2.__version__, special=SPECIAL, now=now, conversations=CONV, templates=result)
pathlib.Path(args.out).write_text(json.dumps(oracle, indent=1, ensure_ascii=False) + "\n")
print(f"{len(result)} templates: {rendered} rendered, {refused} refused, {left_out} left out")
