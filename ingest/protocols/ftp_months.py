"""Names of months in FTP listings, in the languages and scripts that servers write them in."""

from collections.abc import Iterable, Iterator

_MONTHS = """
jan feb mar apr may jun jul aug sep/sept oct nov dec
january february march april may june july august september october november december
jän/jan feb mär/mrz/märz apr mai jun jul aug sep/sept okt nov dez
januar/jänner februar märz april mai juni juli august september oktober november dezember
janv/jan févr/fév/fevr mars avr/avril mai juin juil août/aou/aout sept oct nov déc
janvier février mars avril mai juin juillet août septembre octobre novembre décembre
jan fév mar avr mai jui jui aoû sep oct nov déc
ene feb mar abr may jun jul ago sep/set/sept oct nov dic
enero febrero marzo abril mayo junio julio agosto septiembre/setiembre octubre noviembre diciembre
gen feb mar apr mag giu lug ago set ott nov dic
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
jan fev mar abr mai jun jul ago set out nov dez
janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro
gen febr març abr maig juny jul ag set oct nov des
xan feb mar abr mai xuñ xul ago set out nov dec
urt ots mar api mai eka uzt abu ira urr aza abe
jan/januari feb/februari mrt/maart apr mei jun jul aug/augustus sep okt nov dec
jan feb mar/mars apr/april maj/mai jun/juni jul/juli aug/augusti sep okt nov dec/des/desember
jan feb mar apr maí jún júl ágú sep okt nóv des
tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu
jaan veebr märts apr mai juuni juuli aug sept okt nov dets
jan feb mar/marts apr mai/maijs jūn jūl aug sep okt nov dec
saus/sau vas kov bal geg birž/bir liep/lie rugp/rgp rugs/rgs spal/spa lapkr/lap gruod/grd
sty lut mar kwi maj cze lip sie wrz paź lis gru
led úno bře dub kvě čen/čvn čec/čvc srp zář říj lis pro
jan feb mar apr máj jún júl aug sep okt nov dec
jan feb mar apr maj jun jul avg sep okt nov dec
sij velj ožu tra svi lip srp kol ruj lis stu pro
jan febr/feb márc/már ápr máj jún júl aug szept/szep okt nov dec
ian feb/febr mar/mart apr mai iun iul aug sep/sept oct noi/nov/noiem dec
jan shk mar pri maj qer kor gsh sht tet nën dhj
ean feabh márta aib beal meith iúil lún mfómh dfómh samh noll
ion chw maw ebr mai meh gor aws med hyd tach rha
oca şub mar nis may haz tem ağu eyl eki kas ara
ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
jan feb mar/mac/maret apr mei jun jul agu/ags/agt/ogos/ogo/agustus sep okt nov des/dis
jan feb mrt apr mei jun jul aug/ago sep okt nov des
ene peb mar abr may hun hul ago set okt nob dis
yan fev mar apr may i̇yn/iyn i̇yl/iyl avq/avg sen okt noy dek
янв фев мар апр мая/май июн июл авг сен/сент окт ноя/нояб дек
января февраля марта апреля мая июня июля августа сентября октября ноября декабря
январь февр март апр май июнь июль август сентябрь октябрь ноябрь декабрь
яну фев мар апр май юни юли авг сеп окт ное дек
січ лют бер/берез кві/квіт тра/трав чер/черв лип сер/серп вер/верес жов/жовт лис/лист/листоп гру/груд
сту лют сак кра мая/май чэр ліп жні вер кас ліс сне
јан феб/фев мар апр мај јун јул авг сеп окт нов/ное дец/дек
ιαν φεβ μαρ/μάρ απρ μαΐ/μάι/μαϊ ιουν/ιούν ιουλ/ιούλ αυγ/αύγ σεπ οκτ νοε/νοέ δεκ
қаң ақп нау сәу мам мау шіл там қыр қаз қар жел
հնվ փտր մար ապր մայ հնս հլս օգս սեպ հոկ նմբ դեկ
ינו/ינו׳ פבר/פבר׳ מרץ אפר/אפר׳ מאי יונ/יוני יול/יולי אוג/אוג׳ ספט/ספט׳ אוק/אוק׳ נוב/נוב׳ דצמ/דצמ׳
يناير/ينا فبراير/فبر مارس/مار أبريل/أبر مايو/ماي يونيو/يون يوليو/يول أغسطس/أغس سبتمبر/سبت أكتوبر/أكت نوفمبر/نوف ديسمبر/ديس
جانفي فيفري مارس أفريل ماي جوان جويلية أوت سبتمبر أكتوبر نوفمبر ديسمبر
يناير فبراير مارس أبريل ماي يونيو يوليوز غشت شتنبر أكتوبر نونبر دجنبر
جنوری فروری مارچ اپریل مئی جون جولائی اگست ستمبر اکتوبر نومبر دسمبر
ژانویه فوریه مارس آوریل مه ژوئن ژوئیه اوت سپتامبر اكتبر/اکتبر نوامبر دسامبر
जन॰ फ़र॰ मार्च अप्रैल मई जून जुल॰ अग॰ सित॰ अक्तू॰ नव॰ दिस॰
জানু ফেব মার্চ এপ্রিল মে জুন জুলাই আগস্ট সেপ্টেম্বর অক্টোবর নভেম্বর ডিসেম্বর
ஜன பிப் மார் ஏப் மே ஜூன் ஜூலை ஆக செப் அக் நவ டிச
ม.ค ก.พ มี.ค เม.ย พ.ค มิ.ย ก.ค ส.ค ก.ย ต.ค พ.ย ธ.ค
一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月
"""  # noqa: E501 - one language a line
_TOTALS = """
total gesamt insgesamt totaal totalt totale samtals yhteensä kokku kopā razem łącznie suma celkem spolu skupaj ukupno
összesen toplam jumlah tổng всего итого усього загалом общо укупно разам σύνολο סהכ المجموع مجموع รวม
总用量 总计 總計 總用量 合計 합계 전체
"""
_LEGACY = ("latin-1", "cp1250", "cp1251", "koi8-r", "cp1253", "cp1254", "cp1257", "gb18030", "big5", "cp932", "cp949")
"""Encodings of servers that do not write UTF-8. A listing decoded as UTF-8 then holds surrogates for their bytes."""


def month_number(word: str) -> int | None:
    """Return 1 to 12; 0 if the word means different months in different languages; None if it is no month."""
    return _NUMBERS.get(_folded(word))


def is_total(word: str) -> bool:
    """Return whether the word is the one before the number of blocks, in the first line of `ls -l`."""
    return _folded(word) in _TOTAL_WORDS


def _folded(word: str) -> str:
    return word.casefold().rstrip(".,")


def _spellings(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        for case in dict.fromkeys((word, word.capitalize(), word.upper())):
            yield _folded(case)
            for encoding in () if case.isascii() else _LEGACY:
                raw = case.encode(encoding, "ignore")
                if raw.decode(encoding) == case:
                    yield _folded(raw.decode("utf-8", "surrogateescape"))


def _numbers() -> dict[str, int]:
    numbers: dict[str, int] = {}
    for language in _MONTHS.strip().splitlines():
        for number, names in enumerate(language.split(), start=1):
            for spelling in _spellings(names.split("/")):
                numbers[spelling] = number if numbers.get(spelling, number) == number else 0
    return numbers


_NUMBERS = _numbers()
_TOTAL_WORDS = frozenset(_spellings(_TOTALS.split()))
