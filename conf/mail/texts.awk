# Turns conf/mail/*.txt into the C array that core/mail.h declares.
function begin(file) {
    sub(/.*\//, "", file)
    sub(/\.txt$/, "", file)
    printf("%s    { \"%s\",\n", (count++ ? " },\n" : ""), file)
}
BEGIN {
    print "/* Made of the files in conf/mail. */\n#include \"core/mail.h\"\n"
    print "const sa_mail_text_t sa_mail_texts[] = {"
}
FNR == 1 { begin(FILENAME) }
{
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    printf("%s      \"%s\\n\"", (FNR > 1 ? "\n" : ""), $0)
}
END { print " },\n    { NULL, NULL }\n};" }
