/* Messages and templates of mails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mail.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <string.h>

static apr_pool_t *pool;

static int setup(void **state)
{
    return apr_pool_create(&pool, NULL);
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return 0;
}

static const sa_mailbox_t plain = { "", "noreply@site.example" };

static char *make(const sa_mailbox_t *from, const char *to, const char *subject, const char *body,
                  const char **why)
{
    const sa_message_t message = {
        .from = from, .to = to, .subject = subject, .body = body, .id = "abc-_1",
        .date = apr_time_from_sec(1800000000)
    };
    *why = NULL;
    return sa_message_text(pool, &message, why);
}

static const char *body_of(const char *body)
{
    const char *why;
    const char *text = make(&plain, "ada@x.test", "S", body, &why);
    assert_non_null(text);
    return strstr(text, "\r\n\r\n") + 4;
}

static void test_message(void **state)
{
    const char *why;

    assert_string_equal(make(&plain, "ada@x.test", "Hello", "One\nTwo\n", &why),
                        "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"
                        "From: noreply@site.example\r\n"
                        "To: ada@x.test\r\n"
                        "Subject: Hello\r\n"
                        "Message-ID: <abc-_1@site.example>\r\n"
                        "Auto-Submitted: auto-generated\r\n"
                        "MIME-Version: 1.0\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\n"
                        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
                        "One\r\nTwo\r\n");
}

static void test_names_and_subjects(void **state)
{
    static const struct {
        const char *name, *from;
    } names[] = {
        { "Site", "From: \"Site\" <noreply@site.example>\r\n" },
        { "A \"b\" \\c, d@e <f>", "From: \"A \\\"b\\\" \\\\c, d@e <f>\" <noreply@site.example>\r\n" },
        { "Gr\xc3\xbc\xc3\x9f", "From: =?UTF-8?B?R3LDvMOf?= <noreply@site.example>\r\n" },
        { "=?UTF-8?B?eA==?=", "From: =?UTF-8?B?PT9VVEYtOD9CP2VBPT0/PQ==?= <noreply@site.example>\r\n" },
    };
    const char *why;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const sa_mailbox_t from = { names[i].name, "noreply@site.example" };
        const char *text = make(&from, "ada@x.test", "S", "B", &why);
        assert_non_null(text);
        assert_non_null(strstr(text, names[i].from));
    }
}

/* Encoded words hold whole characters, and no line is too long for any of them. */
static void test_long_subject(void **state)
{
    const char *why, *subject = "";

    for (int i = 0; i < 100; i++) {
        subject = apr_pstrcat(pool, subject, "\xe2\x82\xac", NULL);
    }
    const char *text = make(&plain, "ada@x.test", subject, "B", &why);
    const char *at = strstr(text, "Subject: ") + 9;
    int words = 0;
    for (; !strncmp(at, "=?UTF-8?B?", 10); words++) {
        apr_size_t len = strcspn(at, "\r");
        assert_true(len <= 75);
        assert_true((len - 12) % 4 == 0);
        assert_int_equal(at[len - 3] != '=', 1);        /* 45 bytes are 15 characters exactly */
        at += len + 2;
        at += *at == ' ';
    }
    assert_int_equal(words, 7);
    assert_true(!strncmp(at, "Message-ID", 10));
}

static void test_header_injection(void **state)
{
    static const char *const bad[] = {
        "a\r\nBcc: evil@x.test", "a\nb", "a\rb", "a\tb", "a\x7f", "a\xc2\x85" "b",
        "a\xe2\x80\xa8" "b", "a\xe2\x80\xa9" "b", "a\xff" "b", "a\x01"
    };
    const char *why;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const sa_mailbox_t name = { bad[i], "noreply@site.example" };
        const sa_mailbox_t address = { "", bad[i] };
        assert_null(make(&plain, "ada@x.test", bad[i], "B", &why));
        assert_non_null(why);
        assert_null(make(&name, "ada@x.test", "S", "B", &why));
        assert_null(make(&address, "ada@x.test", "S", "B", &why));
        assert_null(make(&plain, apr_pstrcat(pool, "ada@x.test", bad[i], NULL), "S", "B", &why));
        assert_null(make(&plain, bad[i], "S", "B", &why));
    }
    static const char *const not_one[] = {
        "", "ada", "a@x.test,b@x.test", "a@x.test b@x.test", "<a@x.test>", "A <a@x.test>", "a@x.test;"
    };
    for (size_t i = 0; i < sizeof(not_one) / sizeof(*not_one); i++) {
        assert_null(make(&plain, not_one[i], "S", "B", &why));
    }
    assert_null(make(&plain, "ada@x.test", "S", "\xff", &why));
}

static void test_quoted_printable(void **state)
{
    assert_string_equal(body_of("a=b"), "a=3Db");
    assert_string_equal(body_of("\xc3\xbc"), "=C3=BC");
    assert_string_equal(body_of("a \nb\t\nc "), "a=20\r\nb=09\r\nc=20");
    assert_string_equal(body_of("a b\tc"), "a b\tc");
    assert_string_equal(body_of("a\r\nb\rc"), "a\r\nb=0Dc");
    assert_string_equal(body_of(".\n..\na."), "=2E\r\n=2E.\r\na.");
    assert_string_equal(body_of("\x01"), "=01");
    char line[201];
    for (int n = 70; n <= 200; n++) {
        memset(line, 'x', sizeof(line));
        line[n] = '\0';
        for (int special = 0; special < 2; special++) {
            line[n - 1] = special ? '=' : 'x';
            const char *at = body_of(line);
            while (*at) {
                apr_size_t len = strcspn(at, "\r");
                assert_true(len <= 76);
                at += len + (at[len] ? 2 : 0);
            }
        }
    }
    memset(line, 'x', 76);
    memcpy(line + 75, ".", 2);  /* what begins a line because the one before was broken */
    assert_non_null(strstr(body_of(line), "=\r\n=2E"));
}

static void test_mailboxes(void **state)
{
    static const struct {
        const char *text, *name, *address;
    } good[] = {
        { "a@x.test", "", "a@x.test" },
        { "<a@x.test>", "", "a@x.test" },
        { "Site <a@x.test>", "Site", "a@x.test" },
        { "\"The, Site\"  <a@x.test>", "The, Site", "a@x.test" },
        { "Gr\xc3\xbc\xc3\x9f <a@x.test>", "Gr\xc3\xbc\xc3\x9f", "a@x.test" },
    };
    static const char *const bad[] = {
        "", "Site", "Site a@x.test", "Site <a@x.test", "Site <a@x.test> x", "Site <>", "<",
        "Site <a@x.test>\r\nBcc: b@x.test", "Site\n<a@x.test>", "a@x.test, b@x.test", "\xff <a@x.test>"
    };
    sa_mailbox_t box;

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_null(sa_mailbox_parse(pool, good[i].text, &box));
        assert_string_equal(box.name, good[i].name);
        assert_string_equal(box.address, good[i].address);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_non_null(sa_mailbox_parse(pool, bad[i], &box));
    }
}

static const char *const words[] = { "link", "email", NULL };

static const char *parse(const char *text, sa_mail_template_t *template, int *line)
{
    return sa_mail_template_parse(pool, text, strlen(text), words, "link", template, line);
}

static void test_templates(void **state)
{
    static const struct {
        const char *text, *problem;
        int line;
    } bad[] = {
        { "", "first line", 1 },
        { "Hello\n\n{link}\n", "first line", 1 },
        { "subject: Hello\n\n{link}\n", "first line", 1 },
        { "Subject: \n\n{link}\n", "first line", 1 },
        { "Subject: Hello\n\n{link}\n{mail}\n", "{mail} is unknown", 4 },
        { "Subject: {site}\n\n{link}\n", "{site} is unknown", 1 },
        { "Subject: {link}\n\n{link}\n", "not in the subject", 1 },
        { "Subject: Hello\n\nno link\n", "{link} is missing", 1 },
        { "Subject: Hello\n", "no text", 1 },
        { "Subject: Hello\n\n\n\x07{link}", "control", 4 },
        { "Subject: Hello\n\n{link}\xff", "UTF-8", 1 },
    };
    sa_mail_template_t template;
    int line;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *problem = parse(bad[i].text, &template, &line);
        assert_non_null(problem);
        assert_non_null(strstr(problem, bad[i].problem));
        assert_int_equal(line, bad[i].line);
    }
    assert_null(parse("Subject: To {email}\r\n\r\n{link}\r\n{ link} {LINK} {} {{link}} {email",
                      &template, &line));
    apr_table_t *values = apr_table_make(pool, 2);
    apr_table_setn(values, "link", "L{email}");         /* values are not templates */
    apr_table_setn(values, "email", "E");
    assert_string_equal(sa_mail_template_fill(pool, template.subject, values), "To E");
    assert_string_equal(sa_mail_template_fill(pool, template.body, values),
                        "L{email}\r\n{ link} {LINK} {} {L{email}} {email");
}

static void test_own_texts(void **state)
{
    static const char *const all[] = { "link", "email", "site", "expires", "provider", NULL };
    sa_mail_template_t template;
    int n = 0, line;

    for (; sa_mail_texts[n].name; n++) {
        const char *text = sa_mail_texts[n].text;
        assert_null(sa_mail_template_parse(pool, text, strlen(text), all, NULL, &template, &line));
    }
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_and_subjects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_subject, setup, teardown),
        cmocka_unit_test_setup_teardown(test_header_injection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quoted_printable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mailboxes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_templates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_texts, setup, teardown),
    };
    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
