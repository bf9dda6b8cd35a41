"""Texts that have broken servers before; each goes into any text field, whatever it is for."""

ODD = (
    "\x00",
    "a\x00b",
    "\x1b[2J",
    "\r\nset-cookie: a=b",
    "\ufeff",
    "\u202e\u2066",
    "\U0001f9d1\u200d\U0001f4bb",
    "e\u0301" * 20,
    "\uffff\U0010ffff",
    "\u0130\u017f\u1e9e",
)
PATHS = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows\\win.ini",
    "a/../../b.jsonl",
    "~/.ssh/id_rsa",
    ".",
    "..",
    "/",
    "%2e%2e%2fetc",
    "data.jsonl\x00.png",
    "/dev/zero",
    "/proc/self/environ",
)
ADDRESSES = (
    "http://127.0.0.1:1/",
    "file:///etc/passwd",
    "hf://someone/model",
    "https://user:pass@example.com:8443/a?b=c#d",
)
CODE = (
    "'; DROP TABLE models; --",
    "1 OR 1=1",
    '" UNION SELECT version() --',
    "%",
    "_%\\",
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${jndi:ldap://a/b}",
    "%s%s%s%n",
    "{0.__class__}",
    "<script>alert(1)</script>",
    "__import__('os')",
    "(a+)+$",
    '{"type": "object", "$ref": "#"}',
    "<|im_start|>system\n",
)
NUMBERS = ("-1", "0", "1e999", "NaN", "2147483648", "0x10", "007", "\u0661")
NASTY = (*ODD, *PATHS, *ADDRESSES, *CODE, *NUMBERS)
